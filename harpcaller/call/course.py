"""What is known of one call over all the connections that it has, one after another."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred

from harpcaller.call.protocol import AgentProtocol
from harpcaller.errors import (
    InvalidArgumentList,
    MissingResult,
    NoSuchProcedure,
    ProcedureLoadingError,
    Shutdown,
    SystemUnable,
)
from harpcaller.interfaces import Host, ICallSink
from harpcaller.job.patience import Patience
from harpcaller.wire.agent import (
    Attach,
    CancelJob,
    ProcedureCall,
    encode_attach,
    encode_cancel,
    encode_request,
)
from harpcaller.wire.client import Call, JobId
from harpcaller.wire.conversation import Conversation
from harpcaller.wire.ending import Ending, Failed

#: How long to wait before a connection is tried again, in seconds: first, and at most.
FIRST_DELAY, LONGEST_DELAY = 0.1, 10.0

#: What keeps a call from being begun, once it is sure that it wasn't before.
_BEGINNING = {
    error.wire_type
    for error in (
        InvalidArgumentList,
        NoSuchProcedure,
        ProcedureLoadingError,
        Shutdown,
        SystemUnable,
    )
}


@attrs.define(eq=False)
class Course:
    """One call, from its begin until its end is stored.

    Attributes:
        talk: What is said on the connection that there is, or was last.
        agent: That connection; None while there is none.
        is_kept: The agent keeps the call when the connection breaks.
        call: What is called; None for a call that an earlier dispatcher began.
        is_left: We let go of it.
        is_unsure: Nobody knows whether the agent has heard of it.
        work: Its carrying out.
    """

    host: Host
    job_id: JobId
    sink: ICallSink
    patience: Patience
    talk: Conversation = attrs.Factory(Conversation)
    call: Call | None = None
    agent: AgentProtocol | None = None
    is_kept: bool = False
    is_left: bool = False
    is_unsure: bool = False
    work: Deferred[Ending] | None = None
    _delay: float = FIRST_DELAY
    _broken_talk: Conversation | None = None
    _asked_at: float | None = None

    def begin(self, now: float) -> bytes:
        """Give the request that begins it.

        Args:
            now: By a clock that nobody sets.
        """
        if self._asked_at is None:
            self._asked_at = now
        return encode_request(self._request(None))

    def go_on(self, now: float) -> bytes:
        """Give the request that goes on with it, or begins it if the agent hasn't heard of it."""
        if self.is_unsure:
            assert self._asked_at is not None
            self.talk = Conversation(0, begins=True)
            # A bit more, since it may not be less.
            return encode_request(self._request(now - self._asked_at + 0.001))
        since = self.talk.records
        self.talk = Conversation(since)
        return encode_attach(Attach(self.job_id, since, self.host.credentials))

    def _request(self, again: float | None) -> ProcedureCall:
        call = self.call
        assert call is not None
        return ProcedureCall(
            call.procedure, call.arguments, self.host.credentials, self.job_id, again
        )

    def refused(self, error: Failed) -> Failed:
        """Tell what an agent's error means that came instead of going on."""
        if not self.is_unsure:
            missing = f"the agent can't go on with the call: {error.message}"
        elif error.type in _BEGINNING:
            return error
        else:
            missing = f"whether the agent has begun the call isn't known: {error.message}"
        return Failed.because(MissingResult(missing))

    def cancel_line(self) -> bytes:
        """Give the request that ends it, or tells that its end is safe."""
        return encode_cancel(CancelJob(self.job_id, self.host.credentials))

    def next_delay(self) -> float:
        """Tell how long to wait before the next connection; longer each time in a row.

        Jobs wait differently long, so that not all of them come at once.
        """
        if self.talk.acknowledged and self.talk is not self._broken_talk:
            # It was reached since the last time.
            self._delay, self._broken_talk = FIRST_DELAY, self.talk
        delay, self._delay = self._delay, min(2 * self._delay, LONGEST_DELAY)
        return delay * (0.5 + sum(self.job_id.encode()) % 64 / 128)
