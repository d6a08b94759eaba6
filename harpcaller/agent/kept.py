"""A call that outlives its caller's connection: what is between the running call and whoever
asks for it, one connection after another.

::

    state       told   finished      attached    lost        cancelled   time_ran_out
    ----------  -----  ------------  ----------  ----------  ----------  ------------
    attached    send   > delivering  take over   > orphaned  > over (1)  --
    orphaned    keep   > waiting     > attached  --          > over (1)  > over (1)
    delivering  --     --            take over   > waiting   > over      --
    waiting     --     --            > delivering --         > over      > over
    over        --     --            --          --          --          --

In ``orphaned`` the procedure runs and nobody listens; in ``waiting`` it has ended, and nobody has
heard how; in ``delivering`` somebody is being told, or was, and hasn't said yet that he has it.
(1) The running call is told that its caller is gone, which ends the procedure.  ``--`` is
accepted and means nothing.  The clock measures how long nobody was attached.

What was said is in its :class:`~harpcaller.agent.feed.Feed`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs
from automat import TypeMachineBuilder
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from harpcaller.agent.feed import Feed
from harpcaller.agent.running import RunningCall
from harpcaller.agent.seams import ICaller, ICallProcess, ILink
from harpcaller.wire.agent import Acknowledged, encode_message


class Keeping(Protocol):
    """What can happen to a kept call."""

    def told(self, lines: bytes) -> None:
        """The procedure streamed records."""

    def finished(self, line: bytes) -> None:
        """The procedure ended, and this is how."""

    def attached(self, link: ILink, position: int) -> None:
        """Somebody wants to hear it from this position on."""

    def lost(self) -> None:
        """The connection is gone."""

    def cancelled(self) -> None:
        """Nobody wants any more of it."""

    def time_ran_out(self) -> None:
        """Nobody was attached for too long."""


@attrs.define(eq=False)
class KeptCore:
    """What a kept call is made of.

    Args:
        clock: Measures how long nobody is attached.
        orphan_seconds: How long that may be.
        feed: What was said, and who listens.
        unheard: Called with whether it has ended and nobody is attached, when that changes.
        over: Called with a word for the log when nobody can attach any more.
        keeps_connections: What the acknowledgement says of the connection: that it may stay.
    """

    clock: IReactorTime
    orphan_seconds: float
    feed: Feed
    unheard: Callable[[bool], None]
    over: Callable[[str], None]
    keeps_connections: bool = False
    streaming: bool = False
    running: RunningCall | None = None
    producer: IPushProducer | None = None
    _timer: IDelayedCall | None = None

    def attach(self, link: ILink, position: int) -> None:
        """Send to this connection from a position on."""
        self.feed.connect(link, position)
        self.wait(None)
        acknowledged = Acknowledged(self.streaming, True, self.keeps_connections)
        link.tell(encode_message(acknowledged))
        assert self.producer is not None
        link.feed_from(self.producer)
        self.feed.send()

    def detach(self, ring: Callable[[], None]) -> None:
        """Go on without a connection, for a time."""
        self.feed.disconnect()
        self.wait(ring)

    # Time, and the end.

    def wait(self, ring: Callable[[], None] | None) -> None:
        """Set the clock anew; None stops it."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None if ring is None else self.clock.callLater(self.orphan_seconds, ring)

    def finish(self, how: str) -> None:
        """Let go of everything."""
        self.wait(None)
        self.feed.close()
        self.over(how)

    def abandon(self, how: str) -> None:
        """End the procedure, of which nobody will hear."""
        assert self.running is not None
        self.finish(how)
        self.running.caller_gone()


_builder = TypeMachineBuilder(Keeping, KeptCore)
_attached = _builder.state("attached")
_orphaned = _builder.state("orphaned")
_delivering = _builder.state("delivering")
_waiting = _builder.state("waiting")
_over = _builder.state("over")


@_attached.upon(Keeping.told).loop()
@_orphaned.upon(Keeping.told).loop()
def _keep(keeping: Keeping, core: KeptCore, lines: bytes) -> None:
    core.feed.say(lines)


@_attached.upon(Keeping.finished).to(_delivering)
def _deliver(keeping: Keeping, core: KeptCore, line: bytes) -> None:
    core.feed.say_last(line)


@_orphaned.upon(Keeping.finished).to(_waiting)
def _keep_the_end(keeping: Keeping, core: KeptCore, line: bytes) -> None:
    core.feed.say_last(line)
    core.wait(keeping.time_ran_out)
    core.unheard(True)


@_attached.upon(Keeping.attached).loop()
@_orphaned.upon(Keeping.attached).to(_attached)
@_delivering.upon(Keeping.attached).loop()
def _attach(keeping: Keeping, core: KeptCore, link: ILink, position: int) -> None:
    core.attach(link, position)


@_waiting.upon(Keeping.attached).to(_delivering)
def _deliver_at_last(keeping: Keeping, core: KeptCore, link: ILink, position: int) -> None:
    core.unheard(False)
    core.attach(link, position)


@_attached.upon(Keeping.lost).to(_orphaned)
def _detach(keeping: Keeping, core: KeptCore) -> None:
    core.feed.log.info("agent.call_orphaned", **core.feed.about)
    core.detach(keeping.time_ran_out)


@_delivering.upon(Keeping.lost).to(_waiting)
def _keep_it(keeping: Keeping, core: KeptCore) -> None:
    core.detach(keeping.time_ran_out)
    core.unheard(True)


@_attached.upon(Keeping.cancelled).to(_over)
@_orphaned.upon(Keeping.cancelled).to(_over)
def _cancel(keeping: Keeping, core: KeptCore) -> None:
    core.abandon("cancelled")


@_orphaned.upon(Keeping.time_ran_out).to(_over)
def _end_orphan(keeping: Keeping, core: KeptCore) -> None:
    core.abandon("orphaned")


@_delivering.upon(Keeping.cancelled).to(_over)
@_waiting.upon(Keeping.cancelled).to(_over)
def _forget(keeping: Keeping, core: KeptCore) -> None:
    core.finish("heard")


@_waiting.upon(Keeping.time_ran_out).to(_over)
def _give_up(keeping: Keeping, core: KeptCore) -> None:
    core.finish("unheard")


for _state, _late in (
    (_attached, ("time_ran_out",)),
    (_orphaned, ("lost",)),
    (_delivering, ("told", "finished", "time_ran_out")),
    (_waiting, ("told", "finished", "lost")),
    (_over, ("told", "finished", "attached", "lost", "cancelled", "time_ran_out")),
):
    for _name in _late:
        _state.upon(getattr(Keeping, _name)).loop().returns(None)

#: Makes the machine of a kept call of its :class:`KeptCore`.
make_keeping = _builder.build()


@implementer(ICaller, IPushProducer)
class KeptCall:
    """A kept call, as its running call and its connections see it.

    To the running call it is the caller, to a connection it is what produces.

    Args:
        core: What it is made of.
    """

    def __init__(self, core: KeptCore) -> None:
        self._core = core
        core.producer = self
        self._keeping = make_keeping(core)

    # The running call.

    def acknowledge(self, streaming: bool) -> None:
        self._core.streaming = streaming

    def tell(self, data: bytes) -> None:
        self._keeping.told(data)
        self._check()

    def finish(self, line: bytes) -> None:
        self._keeping.finished(line)
        self._check()

    def feed_from(self, producer: ICallProcess) -> None:
        self._core.feed.process = producer

    # Connections, and who speaks there.

    def begin(self, running: RunningCall, link: ILink) -> None:
        """Let the connection that asked for the call hear of it."""
        self._core.running = running
        self._keeping.attached(link, 0)

    def attach(self, link: ILink, since: int) -> bool:
        """Let another connection hear it, from record ``since`` on; tells whether that's there."""
        position = self._core.feed.position_of(since)
        if position is None:
            return False
        self._keeping.attached(link, position)
        self._check()
        return True

    def lost(self, link: ILink) -> None:
        """A connection is gone, maybe one that was taken over long ago."""
        if link is self._core.feed.link:
            self._keeping.lost()
            self._check()

    def _check(self) -> None:
        if self._core.feed.is_lost:
            self._keeping.cancelled()

    def cancel(self) -> bool:
        """End it, or forget it; tells whether there was something to end."""
        had_ended = self._core.feed.has_ended
        self._keeping.cancelled()
        return not had_ended

    def give_up(self) -> None:
        """Wait no longer for somebody who asks how it ended."""
        self._keeping.time_ran_out()

    @property
    def bytes(self) -> int:
        """How much is kept of it."""
        return self._core.feed.bytes

    # The connection's flow.

    def pauseProducing(self) -> None:
        self._core.feed.pause()

    def resumeProducing(self) -> None:
        self._core.feed.resume()
        self._check()

    def stopProducing(self) -> None:
        """The connection is lost, which is told in another way too."""
