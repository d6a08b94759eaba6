"""What becomes of a request: its user is checked, and what it asks for is done or begun.

Nothing here knows how connections come, wait and go.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred

from harpcaller.agent.seams import Begun, CallsSeen, IChecker, IConnection, Kept, KeptCallsSeen
from harpcaller.errors import NoSuchJob, WireError
from harpcaller.wire.agent import (
    Attach,
    CancelJob,
    ListProcedures,
    ProcedureCall,
    Request,
    encode_cancelled,
    encode_procedures,
)
from harpcaller.wire.client import JobId

_Value = TypeVar("_Value")


async def _known(value: _Value | Deferred[_Value]) -> _Value:
    """Wait for a value that may be there already."""
    return await value if isinstance(value, Deferred) else value


def back_for(request: Request) -> JobId | None:
    """Tell which call may be there already that a request is about."""
    if isinstance(request, Attach) or (
        isinstance(request, ProcedureCall) and request.again is not None
    ):
        return request.job
    return None


@attrs.frozen
class Desk:
    """Where requests are taken.

    Args:
        checker: Knows who may call.
        calls: Runs the calls.
        kept_calls: Those that go on when their connections break.
    """

    checker: IChecker
    calls: CallsSeen
    kept_calls: KeptCallsSeen

    async def check(self, request: Request, peer: str) -> None:
        """Let known users pass.

        Raises:
            WireError: This one isn't.
        """
        await self.checker.check(request.credentials, peer)

    async def answer(self, request: ListProcedures | CancelJob) -> bytes:
        """Do what is done at once; gives the line to answer with.

        Raises:
            WireError: It can't be done.
        """
        if isinstance(request, ListProcedures):
            return encode_procedures(await _known(self.calls.listed(request)))
        return encode_cancelled(await _known(self.kept_calls.cancel(request)))

    async def last_word(self, request: CancelJob, peer: str) -> None:
        """End a call for somebody who is gone, so that nobody is told how that went."""
        with suppress(WireError):
            await self.check(request, peer)
            _ = await self.answer(request)

    def keeps(self, request: ProcedureCall | Attach) -> bool:
        """Tell whether the call is one that outlives its connection.

        Raises:
            WireError: It may have been begun before, and nobody would know.
        """
        if isinstance(request, Attach):
            return True
        if request.job is not None and self.kept_calls.are_kept:
            return True
        if request.again is not None:
            raise NoSuchJob("whether the call was begun before isn't known any more")
        return False

    def keep(
        self, request: ProcedureCall | Attach, connection: IConnection, peer: str, age: float
    ) -> Kept:
        """Begin a call that outlives its connection, or go on with it.

        Args:
            request: What is wanted.
            connection: Who hears of it.
            peer: Where that comes from.
            age: How long ago the request was sent at the latest, in seconds.

        Raises:
            WireError: It can't be.
        """
        if isinstance(request, Attach):
            return self.kept_calls.attach(request, connection, peer)
        if request.again is not None:
            # Reckoned from before it was sent, however long it was on its way.
            request = replace(request, again=request.again + age)
        return self.kept_calls.begin(
            request, connection, lambda keeper: self.calls.begin(request, keeper, peer)
        )

    def run(self, request: ProcedureCall, connection: IConnection, peer: str) -> Begun:
        """Begin a call that ends with its connection.

        Raises:
            WireError: It can't run.
        """
        return self.calls.begin(request, connection, peer)
