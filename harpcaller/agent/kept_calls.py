"""The kept calls by their jobs' ids: who may hear which, and how long they are remembered.

A job id is its user's: another user's call of the same id is another call, and nobody can hear,
end or even find out about a call of somebody else's.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorTime

from harpcaller.agent.feed import Feed
from harpcaller.agent.kept import KeptCall, KeptCore
from harpcaller.agent.running import RunningCall
from harpcaller.agent.seams import ICaller, ILink
from harpcaller.agent.spool import Spool
from harpcaller.errors import InvalidRequest, NoSuchJob
from harpcaller.logs.events import EventLog
from harpcaller.wire.agent import Attach, CancelJob, ProcedureCall
from harpcaller.wire.client import JobId

#: How many jobs that are over are remembered, so that none is begun twice.
MOST_REMEMBERED = 10_000
#: How many calls that have ended may wait for somebody to ask how, and how much of what they
#: said may be kept; the oldest go first.
MOST_UNHEARD = 1_000
MOST_UNHEARD_BYTES = 256 * 1024 * 1024


@attrs.frozen
class KeepSettings:
    """How calls are kept.

    Args:
        orphan_seconds: How long without a caller; 0 keeps none.
        folder: Where what they say is kept.
        keep_bytes: How much of it, for each call.
        keeps_connections: Whether those who hear the calls may keep their connections.
    """

    orphan_seconds: float = 600.0
    folder: str = "/var/tmp"  # noqa: S108 - files there have no names
    keep_bytes: int = 16 * 1024 * 1024
    keeps_connections: bool = False


_Key = tuple[str, JobId]


class KeptCalls:
    """The calls that go on when their connections break.

    Args:
        settings: May be replaced; calls that are there keep theirs.
        clock: Measures how long nobody is attached.
        log: Where they are told of.
        steady: A clock that nobody sets, in seconds; None is ``clock``.
    """

    def __init__(
        self,
        settings: KeepSettings,
        clock: IReactorTime,
        log: EventLog,
        steady: Callable[[], float] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._log = log
        self._steady = steady or clock.seconds
        #: Every job that was begun later than this is known.
        self._knows_since = self._steady()
        self._calls: dict[_Key, KeptCall] = {}
        #: Dictionaries, since they keep the order.
        self._unheard: dict[_Key, KeptCall] = {}
        #: When they were begun.
        self._over: dict[_Key, float] = {}

    @property
    def settings(self) -> KeepSettings:
        """How calls are kept."""
        return self._settings

    @settings.setter
    def settings(self, settings: KeepSettings) -> None:
        if settings.orphan_seconds > 0 and not self.are_kept:
            # Those that were begun meanwhile aren't known.
            self._knows_since = self._steady()
        self._settings = settings

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def are_kept(self) -> bool:
        """Whether calls are kept at all."""
        return self.settings.orphan_seconds > 0

    def begin(
        self, request: ProcedureCall, link: ILink, start: Callable[[ICaller], RunningCall]
    ) -> KeptCall:
        """Begin a call that has a job id; or go on with it, if it is asked for again.

        Args:
            request: What is asked for.
            link: Who asks.
            start: Starts the call; whatever it raises is passed on, and then nothing is kept.

        Raises:
            InvalidRequest: The user has begun a job of this id before.
            NoSuchJob: It is asked for again, and can neither be gone on with nor be begun
                without maybe being begun twice.
        """
        assert request.job is not None
        key = request.credentials.user, request.job
        if request.again is not None:
            if key in self._calls:
                return self._attach(key, link, 0)
            if key in self._over or self._steady() - request.again <= self._knows_since:
                raise NoSuchJob("whether the call was begun before isn't known any more")
        if key in self._calls or key in self._over:
            raise InvalidRequest("job: a call of this id was begun before")
        settings, begun_at = self.settings, self._steady()

        def unheard(is_unheard: bool) -> None:
            self._unheard.pop(key, None)
            if is_unheard:
                self._unheard[key] = kept
                self._make_room()

        def over(how: str) -> None:
            del self._calls[key]
            self._unheard.pop(key, None)
            self._over[key] = begun_at
            if len(self._over) > MOST_REMEMBERED:
                forgotten = self._over.pop(next(iter(self._over)))
                self._knows_since = max(self._knows_since, forgotten)
            if how in ("orphaned", "unheard"):
                self._log.info("agent.kept_call_dropped", job=key[1], reason=how)

        spool = Spool(settings.folder, settings.keep_bytes // 2)
        feed = Feed(settings.keep_bytes, spool, self._log, {"job": request.job})
        core = KeptCore(
            self._clock,
            settings.orphan_seconds,
            feed,
            unheard,
            over,
            settings.keeps_connections,
        )
        kept = KeptCall(core)
        running = start(kept)
        self._calls[key] = kept
        kept.begin(running, link)
        return kept

    def attach(self, request: Attach, link: ILink, peer: str) -> KeptCall:
        """Let a connection go on with a call.

        Raises:
            NoSuchJob: There is no such call of this user, or it doesn't have these records.
        """
        kept = self._attach((request.credentials.user, request.job), link, request.since)
        self._log.info("agent.call_attached", job=request.job, since=request.since, peer=peer)
        return kept

    def _attach(self, key: _Key, link: ILink, since: int) -> KeptCall:
        kept = self._find(key)
        if not kept.attach(link, since):
            raise NoSuchJob(f"the records from {since} on are not there")
        return kept

    def cancel(self, request: CancelJob) -> bool:
        """End a call, or forget how it ended; tells whether it ran.

        Raises:
            NoSuchJob: There is no such call of this user.
        """
        return self._find((request.credentials.user, request.job)).cancel()

    def _find(self, key: _Key) -> KeptCall:
        kept = self._calls.get(key)
        if kept is None:
            raise NoSuchJob("no call of this user has this job id")
        return kept

    def close(self) -> None:
        """End and forget all of them."""
        for kept in list(self._calls.values()):
            kept.cancel()

    def _make_room(self) -> None:
        while len(self._unheard) > MOST_UNHEARD or (
            len(self._unheard) > 1
            and sum(kept.bytes for kept in self._unheard.values()) > MOST_UNHEARD_BYTES
        ):
            next(iter(self._unheard.values())).give_up()
