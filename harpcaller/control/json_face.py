"""JSON lines on the control socket: a thin codec over the table of commands."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from twisted.internet.defer import Deferred

from harpcaller.control.commands import TABLE, Listing, Seams, answerable, begin, carry_out
from harpcaller.control.flow import Outlet
from harpcaller.errors import InvalidRequest, WireError
from harpcaller.logs.events import EventLog, forget
from harpcaller.wire.control import MAX_COMMAND_SIZE, decode_command
from harpcaller.wire.control_answers import Done, Item, encode_answer, encode_item, encode_refusal
from harpcaller.wire.lines import LineBuffer, LineTooLong

_log = EventLog("control")


class JsonFace:
    """One connection that speaks JSON lines.

    Commands are done one after the other.  A line that isn't a command is answered and
    forgotten, but for one that is too long: the rest of it isn't read, so the
    connection is closed.

    Args:
        seams: Whom the commands ask.
        outlet: Where the answers go.
        max_line: The longest line, in bytes.
    """

    def __init__(self, seams: Seams, outlet: Outlet, max_line: int = MAX_COMMAND_SIZE) -> None:
        self._seams = seams
        self._outlet = outlet
        self._max_line = max_line
        self._lines = LineBuffer(max_line)
        self._ended = False
        self._serving = False
        self._current: Deferred[None] | None = None
        self._for_the_asker = False

    def received(self, data: bytes) -> None:
        """Take bytes as they came."""
        if self._ended:
            return
        self._lines.feed(data)
        if not self._serving:
            self._serving = True
            forget(Deferred.fromCoroutine(self._serve()), _log, "control.bug")
        self._outlet.crowded(self._serving and self._lines.pending() > self._max_line)

    def ended(self) -> None:
        """Take note that the client says no more; it still gets every answer."""
        self._ended = True
        if not self._serving:
            self._outlet.close()

    def lost(self) -> None:
        """Take note that the client is gone, and stop what was for it alone."""
        self._outlet.lost()
        if self._current is not None and self._for_the_asker:
            self._current.cancel()

    async def _serve(self) -> None:
        try:
            while not self._outlet.gone:
                line = self._lines.next_line()
                if line is None:
                    break
                self._outlet.crowded(self._lines.pending() > self._max_line)
                await self._outlet.room()
                self._current = Deferred.fromCoroutine(self._answer(line))
                await self._current
        except LineTooLong as error:
            self._ended = True
            self._outlet.write(encode_refusal(InvalidRequest(str(error))))
        finally:
            self._serving = False
            self._current = None
        if self._ended:
            self._outlet.close()

    async def _answer(self, line: bytes) -> None:
        try:
            command = decode_command(line)
            entry = TABLE[type(command)]
            self._for_the_asker = entry.for_the_asker
            if isinstance(entry, Listing):
                items = begin(self._seams, entry, command)
                await answerable(self._write_items(items), command.command)
                closing = encode_answer(Done())
            else:
                closing = encode_answer(await carry_out(self._seams, entry, command))
        except WireError as error:
            closing = encode_refusal(error)
        self._outlet.write(closing)

    async def _write_items(self, items: AsyncGenerator[Item, None]) -> None:
        async with aclosing(items):
            async for item in items:
                await self._outlet.room()
                self._outlet.write(encode_item(item) + b"\n")
