"""The library straight to an agent, over TLS."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import harp
from harpcaller.testing.certificates import make_authority
from tests.client.fake_dispatcher import Close, FakeDispatcher, Script, Step, line

TAKEN = line(harp=1, stream_result=False)
STREAMS = line(harp=1, stream_result=True)


class AgentCase(SynchronousTestCase):
    """Serves a script as an agent does."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.authority = make_authority()
        self.ca_file = str(self.folder / "ca.pem")
        Path(self.ca_file).write_bytes(self.authority.certificate_pem)
        self.certify("127.0.0.1")

    def certify(self, *names: str) -> None:
        """Give the agents that are started from here on a certificate for these names."""
        files = self.authority.issue(names=names).write(self.folder, "agent")
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(files.certificate, files.key)

    def serve(self, *steps: Step) -> harp.HarpServer:
        """Start an agent that says this to every request, and make its client."""
        return self.serve_script(lambda _: steps)

    def serve_script(self, script: Script) -> harp.HarpServer:
        """Start an agent with this script, and make its client."""
        self.fake = FakeDispatcher(
            script, wrap=lambda plain: self.tls.wrap_socket(plain, server_side=True)
        )
        self.addCleanup(self.fake.stop)
        return self.client()

    def client(self, **options: str | bool | float | None) -> harp.HarpServer:
        """Make a client of the agent."""
        every = {"ca_file": self.ca_file, "read_timeout": 10.0, **options}
        return harp.HarpServer(
            "127.0.0.1",
            "user",
            "secret",
            self.fake.port,
            **every,  # type: ignore[arg-type]  # a mixed bag
        )


class CallTests(AgentCase):
    """A procedure that doesn't stream."""

    def test_result(self) -> None:
        """The call waits for it and gives it."""
        server = self.serve(TAKEN, line(result={"a": 1}))
        self.assertEqual({"a": 1}, server.uptime("x"))
        self.assertEqual(
            [
                {
                    "harp": 1,
                    "procedure": "uptime",
                    "arguments": ["x"],
                    "auth": {"user": "user", "password": "secret"},
                }
            ],
            self.fake.requests,
        )

    def test_named_arguments_and_names(self) -> None:
        """A procedure whose name isn't an attribute's goes in brackets."""
        server = self.serve(TAKEN, line(result=None))
        self.assertIsNone(server["some.procedure"](a=1))
        request = self.fake.requests[0]
        self.assertEqual(("some.procedure", {"a": 1}), (request["procedure"], request["arguments"]))
        self.assertRaises(harp.HarpException, server.p, 1, a=2)

    def test_errors(self) -> None:
        """The procedure's and the agent's own, before and after the acknowledgement."""
        told = {"type": "T", "message": "m"}
        for steps, kind in [
            ((TAKEN, line(exception=told)), harp.RemoteException),
            ((TAKEN, line(harp=1, error=told)), harp.RemoteError),
            ((line(harp=1, error=told),), harp.RemoteError),
        ]:
            error = self.assertRaises(kind, self.serve(*steps).p)
            self.assertEqual("T: m", str(error))

    def test_breaches_of_the_protocol(self) -> None:
        """Each is a CommunicationError with the agent's address."""
        for steps in (
            (b"SSH-2.0\n",),
            (line(result=1),),
            (TAKEN, line(stream=1)),
            (TAKEN, TAKEN),
            (Close(),),
            (TAKEN, Close()),
        ):
            error = self.assertRaises(harp.CommunicationError, self.serve(*steps).p)
            self.assertTrue(str(error).startswith(f"127.0.0.1:{self.fake.port}: the agent"))

    def test_silence(self) -> None:
        """``read_timeout`` ends it."""
        release = threading.Event()
        self.serve(release)
        self.addCleanup(release.set)
        error = self.assertRaises(harp.CommunicationError, self.client(read_timeout=0.1).p)
        self.assertIn("no answer within 0.1 s", str(error))


class StreamTests(AgentCase):
    """A procedure that streams."""

    def test_records_and_result(self) -> None:
        """The result comes last, and can be told from a record."""
        stream = self.serve(STREAMS, line(stream=1), line(stream={"result": 2}), line(result=3)).p()
        self.assertIsInstance(stream, harp.HarpStreamIterator)
        *records, last = stream
        self.assertEqual([1, {"result": 2}], records)
        assert isinstance(last, harp.Result)
        self.assertEqual((3, "harp.Result(3)"), (last.value, repr(last)))
        self.assertEqual([], list(stream))

    def test_errors_come_out_of_the_iterator(self) -> None:
        """Records first, then the exception; after it there's nothing."""
        told = line(exception={"type": "T", "message": "m"})
        for last, kind in ((told, harp.RemoteException), (Close(), harp.CommunicationError)):
            stream = self.serve(STREAMS, line(stream=1), last).p()
            self.assertEqual(1, next(stream))
            self.assertRaises(kind, next, stream)
            self.assertRaises(StopIteration, next, stream)

    def test_leaving_early_cancels(self) -> None:
        """The agent sees the connection closed, and that ends the procedure."""
        gone = threading.Event()

        def script(_: object) -> list[Step]:
            return [STREAMS, line(stream=1), gone]

        with self.serve_script(script).p() as stream:
            self.assertEqual(1, next(stream))
        gone.set()
        self.assertEqual([], list(stream))


class TrustTests(AgentCase):
    """Which agent is believed to be one."""

    def test_unknown_authority(self) -> None:
        """With a CA file, a certificate of another's isn't accepted, and nothing is sent."""
        other = self.folder / "other.pem"
        other.write_bytes(make_authority("Other").certificate_pem)
        self.serve(TAKEN, line(result=1))
        error = self.assertRaises(harp.CommunicationError, self.client(ca_file=str(other)).p)
        self.assertIn("TLS: ", str(error))
        self.assertIn("certificate verify failed", str(error))
        self.assertEqual([], self.fake.requests)

    def test_any_certificate(self) -> None:
        """Without a CA file there's nothing to check it with."""
        self.serve(TAKEN, line(result=1))
        self.assertEqual(1, self.client(ca_file=None).p())

    def test_hostname(self) -> None:
        """It's checked when asked for, by address too; also if there are no names at all."""
        for names, good in ((("127.0.0.1",), True), (("elsewhere",), False), ((), False)):
            self.certify(*names)
            self.serve(TAKEN, line(result=1))
            self.assertEqual(1, self.client().p())
            strict = self.client(verify_hostname=True)
            if good:
                self.assertEqual(1, strict.p())
            else:
                self.assertRaises(harp.CommunicationError, strict.p)

    def test_expired(self) -> None:
        """A certificate that ran out isn't accepted."""
        files = self.authority.issue_expired().write(self.folder, "old")
        self.tls.load_cert_chain(files.certificate, files.key)
        error = self.assertRaises(harp.CommunicationError, self.serve(TAKEN).p)
        self.assertIn("expired", str(error))

    def test_no_tls_at_all(self) -> None:
        """A peer that speaks something else is told apart."""

        def greet(peer: socket.socket) -> socket.socket:
            peer.sendall(b"220 mail.example.net\r\n")
            return peer

        plain = FakeDispatcher(lambda _: [], wrap=greet)
        self.addCleanup(plain.stop)
        server = harp.HarpServer("127.0.0.1", "u", "p", plain.port, connect_timeout=5)
        self.assertIn("TLS: ", str(self.assertRaises(harp.CommunicationError, server.p)))

    def test_ca_file_that_is_none(self) -> None:
        """It is said at once which file is meant."""
        missing = str(self.folder / "missing.pem")
        for path in (missing, __file__):
            error = self.assertRaises(
                harp.HarpException, harp.HarpServer, "h", "u", "p", ca_file=path
            )
            self.assertTrue(str(error).startswith(f"{path}: cannot be used as a CA file"))
        self.assertRaises(harp.HarpException, harp.HarpServer, "h", "u", "p", verify_hostname=True)

    def test_password_is_never_shown(self) -> None:
        """Neither the object nor a procedure of it tells the password."""
        server = harp.HarpServer("h", "u", "secret")
        self.assertEqual(
            "<harp.HarpServer h:4306> <harp.HarpProcedure h:4306:p>", f"{server!r} {server.p!r}"
        )
        self.assertNotIn("secret", repr(vars(server)))
        self.assertFalse(hasattr(server, "_private"))
