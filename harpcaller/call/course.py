"""What is known of one call over all the connections that it has, one after another."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred

from harpcaller.call.protocol import AgentProtocol
from harpcaller.interfaces import Host, ICallSink
from harpcaller.job.patience import Patience
from harpcaller.wire.agent import CancelJob, ProcedureCall, encode_cancel
from harpcaller.wire.client import Call, JobId
from harpcaller.wire.conversation import Conversation
from harpcaller.wire.ending import Ending

#: How long to wait before a connection is tried again, in seconds: first, and at most.
FIRST_DELAY, LONGEST_DELAY = 0.1, 10.0


@attrs.define(eq=False)
class Course:
    """One call, from its begin until its end is stored.

    Attributes:
        talk: What is said on the connection that there is, or was last.
        agent: That connection; None while there is none.
        is_kept: The agent keeps the call when the connection breaks.
        is_left: We let go of it.
        work: Its carrying out.
    """

    host: Host
    job_id: JobId
    sink: ICallSink
    patience: Patience
    talk: Conversation = attrs.Factory(Conversation)
    agent: AgentProtocol | None = None
    is_kept: bool = False
    is_left: bool = False
    work: Deferred[Ending] | None = None
    _delay: float = FIRST_DELAY
    _broken_talk: Conversation | None = None

    def request(self, call: Call) -> ProcedureCall:
        """Give the request that begins it."""
        return ProcedureCall(call.procedure, call.arguments, self.host.credentials, self.job_id)

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
