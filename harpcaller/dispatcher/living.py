"""A job that waits or runs, and those who want to hear of it.

Memory counts here: there may be 100,000 of these.  The call is not kept; it is read back
from the store when the job's turn comes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from harpcaller.interfaces import IPlace
from harpcaller.job.life import Life, new_life
from harpcaller.wire.client import JobId


@attrs.define(eq=False)
class NextTurn:
    """What is to be done on the clock's next turn, in order; nothing of it may raise.

    Jobs end together, as their ends are stored together, and a timer for each is dear.
    """

    _clock: IReactorTime
    _work: list[Callable[[], None]] = attrs.Factory(list)

    def call(self, work: Callable[[], None]) -> None:
        """Do something then."""
        if not self._work:
            self._clock.callLater(0, self._do)
        self._work.append(work)

    def _do(self) -> None:
        work, self._work = self._work, []
        for each in work:
            each()


@attrs.define(eq=False)
class Crowd:
    """Those who wait for one thing to happen, told on the clock's next turn, in order."""

    _next_turn: NextTurn
    _waiting: dict[Deferred[None], None] = attrs.Factory(dict)
    _telling: bool = False

    def wait(self) -> Deferred[None]:
        """Wait for it; cancelling steps out of the crowd."""
        one: Deferred[None] = Deferred(self._step_out)
        self._waiting[one] = None
        return one

    def _step_out(self, one: Deferred[None]) -> None:
        # While they are being told it isn't here any more.
        self._waiting.pop(one, None)

    def tell(self) -> None:
        """Let everybody go on soon; who comes until then goes with them."""
        if self._waiting and not self._telling:
            self._telling = True
            self._next_turn.call(self._tell)

    def _tell(self) -> None:
        self._telling = False
        waiting, self._waiting = self._waiting, {}
        for one in waiting:
            # One of them may have cancelled another.
            if not one.called:
                one.callback(None)


# Setting an attribute is quick: nothing is converted then.
@attrs.define(eq=False, on_setattr=attrs.setters.NO_OP)
class LivingJob:
    """A job from its submission until its end is stored.

    Attributes:
        host: Where it runs, and ``procedure`` what, for the log.
        client: The name of who asked for it, for the log; None if nobody knows.
        place: Its place in a queue, or None if it needs none.
        run: The call's carrying out, once its turn came.
        is_resumable: It is stored that its agent keeps the call.
        version: Grows with each stored fact, so that nobody waits for what has happened.
        over: Its end is stored.
    """

    job_id: JobId
    # Many jobs share one name of these.
    host: str = attrs.field(converter=sys.intern)
    procedure: str = attrs.field(converter=sys.intern)
    client: str | None = None
    place: IPlace | None = None
    life: Life = attrs.Factory(new_life)
    run: Deferred[None] | None = None
    is_resumable: bool = False
    version: int = 0
    over: bool = False
    _news: Crowd | None = None
    _end: Crowd | None = None

    def wait_for_news(self, next_turn: NextTurn, seen: int) -> Deferred[None]:
        """Wait until more is stored than in version ``seen``."""
        if self.over or self.version != seen:
            return succeed(None)
        if self._news is None:
            self._news = Crowd(next_turn)
        return self._news.wait()

    def wait_for_end(self, next_turn: NextTurn) -> Deferred[None]:
        """Wait until the end is stored."""
        if self.over:
            return succeed(None)
        if self._end is None:
            self._end = Crowd(next_turn)
        return self._end.wait()

    def stored(self) -> None:
        """A fact is stored: tell those who wait for news."""
        self.version += 1
        if self._news is not None:
            self._news.tell()

    def ended(self) -> None:
        """The end is stored: tell everybody."""
        self.over = True
        self.stored()
        if self._end is not None:
            self._end.tell()
