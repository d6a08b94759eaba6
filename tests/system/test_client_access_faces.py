"""Every face of the library comes to a dispatcher by TLS, shows who it is, and hears what it may
not do."""

from __future__ import annotations

from typing import Any, Callable

from twisted.internet.defer import Deferred

import harp
from harpcaller.testing.installation import HOST, PATIENCE
from tests.client.faces import AsyncioFace, BlockingFace, Face, TwistedFace
from tests.system.test_client_access import AccessCase
from tests.system.untraced import untraced


class FaceAccessCase(AccessCase):
    make_face: Callable[[], Any]
    rules = '[[allow]]\nclients = ["web"]\nprocedures = ["echo"]\n'

    def setUp(self) -> None:
        super().setUp()
        self.world.environ = untraced(self.world.environ)
        self.face: Face = type(self).make_face()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.face.close()))
        self.secret = self.token("web")
        self.world.start_agent()
        self.world.start_dispatcher()

    def at(self, port: int, **more: Any) -> Any:
        """Make a caller of this face that speaks TLS."""
        ca_file = str(self.folder / "servers.pem")
        return self.face.caller(
            "127.0.0.1", port, read_timeout=PATIENCE, **{"ca_file": ca_file, **more}
        )

    async def called(self, rpc: Any, procedure: str) -> Any:
        job = await self.face.do(lambda: getattr(rpc.host(HOST), procedure)("ä"))
        return await self.face.do(job.get)

    async def fails(self, kind: type[harp.HarpException], rpc: Any, procedure: str) -> str:
        try:
            given = await self.called(rpc, procedure)
        except kind as error:
            return str(error)
        raise AssertionError(f"no {kind.__name__} but {given!r}")


class Behaviour:
    """What each face does."""

    async def test_known_by_a_token(self: Any) -> None:
        """What the token's client may do is done, and what it may not is refused by its name."""
        rpc = self.at(self.tls_port, token=self.secret)
        self.assertEqual("ä", await self.called(rpc, "echo"))
        said = await self.fails(harp.RemoteError, rpc, "restart")
        self.assertIn(f"web may not call restart on {HOST}", said)
        self.assertEqual("ä", await self.called(rpc, "echo"))
        stranger = self.at(self.tls_port, token=self.secret[:-1])
        said = await self.fails(harp.RemoteError, stranger, "echo")
        self.assertIn("auth.token: not known here", said)
        self.assertNotIn(self.secret[:-1], said)

    async def test_known_by_a_certificate(self: Any) -> None:
        """So it is where the port asks for one; without one the connection fails."""
        rpc = self.at(self.certified_port, cert=self.certificate("web"))
        self.assertEqual("ä", await self.called(rpc, "echo"))
        await self.fails(harp.CommunicationError, self.at(self.certified_port), "echo")

    async def test_dispatcher_that_is_not_believed(self: Any) -> None:
        """Neither one of another CA nor one without TLS gets to hear the token."""
        other = str(self.folder / "clients.pem")
        for port, more in ((self.tls_port, {"ca_file": other}), (self.world.port, {})):
            rpc = self.at(port, token=self.secret, **more)
            said = await self.fails(harp.CommunicationError, rpc, "echo")
            self.assertIn("TLS", said)

    async def test_token_without_tls(self: Any) -> None:
        """A plain port takes a token as well; and who has none is nobody."""
        plain = {"ca_file": None}
        rpc = self.at(self.world.port, token=self.secret, **plain)
        self.assertEqual("ä", await self.called(rpc, "echo"))
        said = await self.fails(harp.RemoteError, self.at(self.world.port, **plain), "echo")
        self.assertIn("a client that isn't known may not call", said)


class BlockingTests(Behaviour, FaceAccessCase):
    make_face = BlockingFace


class AsyncioTests(Behaviour, FaceAccessCase):
    make_face = AsyncioFace


class TwistedTests(Behaviour, FaceAccessCase):
    make_face = TwistedFace
