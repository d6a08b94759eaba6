"""Whatever is sent to a control connection, the daemon stays as it was."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from harpcaller.control.server import CLOSE_SECONDS, ControlFactory
from harpcaller.wire.control import COMMANDS
from harpcaller.wire.values import decode
from tests.control.world import Client, NarrowTransport, World
from tests.house import HouseCase

_words = st.sampled_from([*COMMANDS, "command", "all", "queue", "job", "max_age", "wait"])
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | _words | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3),
    max_leaves=5,
)


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """Cut data as a network would."""
    cut = []
    for size in sizes:
        cut.append(data[:size])
        data = data[size:]
    return [piece for piece in (*cut, data) if piece]


class AnythingTests(HouseCase):
    @given(st.sampled_from([b"", b"{", b"\0", b"\0\x08_command"]), st.binary(max_size=200))
    def test_any_bytes(self, start: bytes, data: bytes) -> None:
        """Nothing is logged as an error, and nothing is stopped."""
        world = World()
        client = Client(world)
        client.say(start + data + b"\n")
        client.protocol.readConnectionLost()
        client.go()
        self.assertEqual(0, world.daemon.stops)

    @given(st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.binary(max_size=20))))
    def test_any_box(self, fields: list[tuple[bytes, bytes]]) -> None:
        """Boxes that are well made and mean nothing."""
        client = Client(World())
        data = b"\0\x04_ask\0\x011"
        for key, value in fields:
            data += b"\0%c%s\0%c%s" % (len(key), key, len(value), value)
        client.say(data + b"\0\0")
        client.go()

    @given(
        st.lists(st.dictionaries(_words, _json, max_size=4), max_size=5),
        st.lists(st.integers(1, 30), max_size=5),
    )
    def test_a_closing_line_for_every_line(
        self, lines: list[dict[str, object]], sizes: list[int]
    ) -> None:
        """Every line of JSON is answered, once, however it came."""
        world = World()
        client = Client(world)
        data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        answers = b"".join(client.say(piece) for piece in pieces(data, sizes))
        closing = [line for line in answers.splitlines() if "result" in decode(line)]
        self.assertEqual(len(lines), len(closing))


class FactoryTests(HouseCase):
    def test_closing_waits_for_every_connection(self) -> None:
        """What doesn't go by itself is cut off."""
        world = World()
        factory = ControlFactory(world.seams)
        clock = Clock()
        protocols = [factory.buildProtocol(None) for _ in range(2)]
        for protocol in protocols:
            protocol.makeConnection(NarrowTransport())
        closing = Deferred.fromCoroutine(factory.close_all(clock))
        protocols[0].connectionLost()
        clock.advance(CLOSE_SECONDS)
        self.assertNoResult(closing)
        protocols[1].connectionLost()
        self.successResultOf(closing)
        self.assertEqual([], clock.getDelayedCalls())
