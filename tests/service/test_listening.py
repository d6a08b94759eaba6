"""The ports that clients connect to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from harpcaller.config.access import Door
from harpcaller.config.addresses import listen_address
from harpcaller.service.listening import CannotListen, Listening
from harpcaller.service.prompt import PromptServer
from harpcaller.service.reactor import Reactor
from tests.house import HouseCase


class PortReactor(MemoryReactorClock):
    """A reactor whose ports can be taken, and whose threads run at once."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, int]] = []
        self.taken: set[int] = set()
        self.backlogs: list[int] = []
        self.made: list[Any] = []

    def listenTCP(
        self, port: int, factory: Any, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        if port in self.taken:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        made = super().listenTCP(port, factory, backlog, interface)
        self.backlogs.append(backlog)
        self.made.append(made)
        place = (interface, port)
        self.open.append(place)
        stop = made.stopListening

        def stopListening() -> Any:
            self.open.remove(place)
            return stop()

        made.stopListening = stopListening
        return cast(IListeningPort, made)

    def getThreadPool(self) -> PortReactor:
        return self

    def callInThreadWithCallback(
        self, told: Callable[[bool, Any], None], work: Callable[..., Any], *args: Any, **kw: Any
    ) -> None:
        try:
            told(True, work(*args, **kw))
        except OSError as error:
            told(False, Failure(error))

    def callFromThread(self, function: Callable[..., Any], *args: Any, **kw: Any) -> None:
        function(*args, **kw)


def doors(addresses: Iterable[str]) -> list[Door]:
    return [Door(address=listen_address(address)) for address in addresses]


class ListeningTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.reactor = PortReactor()
        self.listening = Listening(cast(Reactor, self.reactor), Factory())

    def open(self, *addresses: str) -> Deferred[None]:
        return Deferred.fromCoroutine(self.listening.open(doors(addresses), {}))

    def keep_only(self, *addresses: str) -> None:
        kept = self.listening.keep_only(doors(addresses), {})
        self.successResultOf(Deferred.fromCoroutine(kept))

    def test_opens_each_address(self) -> None:
        """IPv4, IPv6 and names are listened on."""
        self.successResultOf(self.open("127.0.0.1:1", "[::1]:2", "localhost:3"))
        self.assertEqual([("127.0.0.1", 1), ("::1", 2)], self.reactor.open[:2])
        self.assertTrue({("127.0.0.1", 3), ("::1", 3)} & set(self.reactor.open))

    def test_star_is_every_address(self) -> None:
        """``*`` is the wildcard of both families where there is IPv6."""
        self.successResultOf(self.open("*:1"))
        self.assertIn(self.reactor.open, ([("::", 1)], [("0.0.0.0", 1)]))

    def test_burst_of_clients(self) -> None:
        """A thousand connections may wait to be accepted: a system whose backlog is full
        lets clients try again only after a second."""
        self.successResultOf(self.open("127.0.0.1:1"))
        self.assertGreaterEqual(self.reactor.backlogs[0], 1000)

    def test_answers_at_once(self) -> None:
        """What is written to a client isn't kept for the reactor's next turn."""
        self.successResultOf(self.open("127.0.0.1:1"))
        self.assertEqual([PromptServer], [port.transport for port in self.reactor.made])

    def test_all_or_none(self) -> None:
        """If one port is taken, those opened before it are closed again."""
        self.successResultOf(self.open("127.0.0.1:1"))
        self.reactor.taken.add(3)
        failure = self.failureResultOf(self.open("127.0.0.1:2", "127.0.0.1:3"), CannotListen)
        self.assertEqual(
            "listen: cannot listen on 127.0.0.1:3: Address already in use", str(failure.value)
        )
        self.assertEqual([("127.0.0.1", 1)], self.reactor.open)

    def test_reload_opens_and_closes_what_differs(self) -> None:
        """What stays in the configuration stays open; the rest is closed."""
        self.successResultOf(self.open("127.0.0.1:1", "127.0.0.1:2"))
        self.successResultOf(self.open("127.0.0.1:2", "127.0.0.1:3"))
        self.keep_only("127.0.0.1:2", "127.0.0.1:3")
        self.assertEqual([("127.0.0.1", 2), ("127.0.0.1", 3)], self.reactor.open)
        self.successResultOf(Deferred.fromCoroutine(self.listening.close()))
        self.assertEqual([], self.reactor.open)

    def test_name_that_is_none(self) -> None:
        """A name that can't be looked up is named."""
        failure = self.failureResultOf(self.open("no-such-name.invalid:1"), CannotListen)
        self.assertIn("cannot resolve no-such-name.invalid", str(failure.value))
