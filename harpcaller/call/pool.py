"""The connections to agents that wait for another call: how many, how long, and which one is next.

:class:`Shelf` decides, and knows no time but what it is told; :class:`Pool` closes what has to go.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from harpcaller.call.context import AgentContext
from harpcaller.call.protocol import AgentProtocol
from harpcaller.interfaces import Host

_Key = TypeVar("_Key", bound=Hashable)
_Item = TypeVar("_Item", bound=Hashable)


@attrs.frozen
class PoolSettings:
    """What is kept.

    Attributes:
        idle_seconds: How long a connection may wait for a call; 0 keeps none.
        age_seconds: How old a connection may be that is used again; it may wait in vain until its
            idle time is over.
        most_per_host: How many may wait for one host.
        most: How many may wait in all.
    """

    idle_seconds: float = 60.0
    age_seconds: float = 3600.0
    most_per_host: int = 64
    most: int = 1024


@attrs.frozen
class _Place(Generic[_Key]):
    key: _Key
    made_at: float
    until: float


class Shelf(Generic[_Key, _Item]):
    """What waits, by what it is good for.

    Of one key the last that came is the first to be taken, so that those that are too many
    wait until their time is over.

    Args:
        settings: May be replaced; counts for what comes then.
    """

    def __init__(self, settings: PoolSettings) -> None:
        self.settings = settings
        #: The one that came first is the first; dictionaries keep the order.
        self._places: dict[_Item, _Place[_Key]] = {}
        self._by_key: dict[_Key, dict[_Item, None]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def put(self, key: _Key, item: _Item, made_at: float, now: float) -> list[_Item]:
        """Let something wait; gives what has to go instead, maybe that itself."""
        settings = self.settings
        if settings.idle_seconds <= 0 or now - made_at >= settings.age_seconds:
            return [item]
        self._places[item] = _Place(key, made_at, now + settings.idle_seconds)
        mates = self._by_key.setdefault(key, {})
        mates[item] = None
        gone = []
        if len(mates) > settings.most_per_host:
            gone.append(next(iter(mates)))
        elif len(self._places) > settings.most:
            gone.append(next(iter(self._places)))
        for one in gone:
            self.remove(one)
        return gone

    def take(self, key: _Key, now: float) -> _Item | None:
        """Give what came last of those that are still good, if there is any."""
        for item in reversed(self._by_key.get(key, {})):
            place = self._places[item]
            if now < place.until and now - place.made_at < self.settings.age_seconds:
                self.remove(item)
                return item
        return None

    def remove(self, item: _Item) -> None:
        """Forget something, if it is there."""
        place = self._places.pop(item, None)
        if place is not None:
            mates = self._by_key[place.key]
            del mates[item]
            if not mates:
                del self._by_key[place.key]

    def overdue(self, now: float) -> list[_Item]:
        """Take what has waited too long, or is too old."""
        return self._take(
            lambda place: now >= place.until or now - place.made_at >= self.settings.age_seconds
        )

    def drop(self, concerns: Callable[[_Key], bool]) -> list[_Item]:
        """Take all of some keys."""
        return self._take(lambda place: concerns(place.key))

    def _take(self, which: Callable[[_Place[_Key]], bool]) -> list[_Item]:
        found = [item for item, place in self._places.items() if which(place)]
        for item in found:
            self.remove(item)
        return found

    def due(self) -> float | None:
        """Tell when to look for what has waited too long; None if there is nothing."""
        for place in self._places.values():
            return place.until
        return None


#: What a connection is good for: one trust, and one host with all that the registry says of it.
PoolKey = tuple[AgentContext, Host]


class Pool:
    """The connections that wait.

    Args:
        settings: How many, and how long.
        clock: For closing those that wait too long.
    """

    def __init__(self, settings: PoolSettings, clock: IReactorTime) -> None:
        self._shelf: Shelf[PoolKey, AgentProtocol] = Shelf(settings)
        self._clock = clock
        self._alarm: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._shelf)

    @property
    def settings(self) -> PoolSettings:
        """How many, and how long; closes all that wait when it is changed."""
        return self._shelf.settings

    @settings.setter
    def settings(self, settings: PoolSettings) -> None:
        if settings != self._shelf.settings:
            self._shelf.settings = settings
            self.drop(lambda key: True)
            self._watch_no_more()

    def put(self, context: AgentContext, agent: AgentProtocol) -> None:
        """Keep a connection that is fit for another call; it may be another that has to go."""
        now = self._clock.seconds()
        agent.rest(self._shelf.remove)
        for one in self._shelf.put((context, agent.host), agent, agent.made_at, now):
            one.close()
        if self._alarm is None:
            self._watch(now)

    def take(self, context: AgentContext, host: Host) -> AgentProtocol | None:
        """Give a connection that waits, if there is one."""
        if not self._shelf:
            return None
        agent = self._shelf.take((context, host), self._clock.seconds())
        if agent is not None:
            agent.wake()
        return agent

    def drop(self, concerns: Callable[[PoolKey], bool]) -> None:
        """Close those that aren't good for anything any more."""
        for agent in self._shelf.drop(concerns):
            agent.close()

    def stop(self) -> None:
        """Close all, and keep none from now on."""
        self._shelf.settings = attrs.evolve(self._shelf.settings, idle_seconds=0.0)
        for agent in self._shelf.drop(lambda key: True):
            agent.abort()
        self._watch_no_more()

    def _watch(self, now: float) -> None:
        due = self._shelf.due()
        if due is not None:
            self._alarm = self._clock.callLater(max(0.0, due - now), self._rang)

    def _watch_no_more(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _rang(self) -> None:
        self._alarm = None
        now = self._clock.seconds()
        for agent in self._shelf.overdue(now):
            agent.close()
        self._watch(now)
