"""Clients that come by TLS, show who they are, and may do some things and not others."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

import harp
from harpcaller.testing.certificates import make_authority
from harpcaller.testing.installation import (
    HOST,
    PATIENCE,
    Installation,
    free_port,
    our_command,
)
from harpcaller.wire.values import decode

PROCEDURES = """\
from harpd.proc import procedure

@procedure
def echo(value): return value

@procedure
def restart(service): return service
"""


class AccessCase(TestCase):
    """A dispatcher with a port for each way of coming in."""

    rules = ""

    def setUp(self) -> None:
        # Not mktemp: the path of a Unix socket is short.
        self.folder = Path(tempfile.mkdtemp(prefix="harpcaller-access-"))
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "procedures.py").write_text(PROCEDURES)
        self.world = Installation(self.folder, self.folder / "procedures.py")
        self.addCleanup(self.world.stop)
        self.tls_port, self.certified_port = free_port(), free_port()
        server = make_authority()
        (self.folder / "servers.pem").write_bytes(server.certificate_pem)
        server.issue("dispatcher", names=["127.0.0.1", "localhost"]).write(self.folder, "server")
        self.clients = make_authority("Clients")
        (self.folder / "clients.pem").write_bytes(self.clients.certificate_pem)
        self.configure(self.rules)

    def configure(self, rules: str) -> None:
        self.world.configure(
            f"""\
tokens_file = "tokens"
audit_log = "audit.log"
[[listener]]
address = "127.0.0.1:{self.tls_port}"
cert_file = "server.pem"
key_file = "server.key"
[[listener]]
address = "127.0.0.1:{self.certified_port}"
cert_file = "server.pem"
key_file = "server.key"
client_ca_file = "clients.pem"
{rules}
"""
        )

    def token(self, name: str) -> str:
        """Make a token as an operator does."""
        made = self.world.harpcallerd("make-token", name)
        with open(self.folder / "tokens", "a", encoding="utf-8") as tokens:
            tokens.write(made.stdout)
        return made.stderr.split()[-1]

    def certificate(self, name: str, folder: str = "") -> tuple[str, str]:
        files = self.clients.issue(name, client=True).write(self.folder, f"client-{name}{folder}")
        return str(files.certificate), str(files.key)

    def reload(self) -> None:
        done = self.world.harpcallerd("reload")
        self.assertEqual((0, ""), (done.returncode, done.stderr))

    def caller(self, port: int, **more: Any) -> harp.HarpCaller:
        return harp.HarpCaller("127.0.0.1", port, read_timeout=PATIENCE, **more)

    def over_tls(self, port: int, **more: Any) -> harp.HarpCaller:
        return self.caller(port, ca_file=str(self.folder / "servers.pem"), **more)

    def audited(self) -> list[Mapping[str, Any]]:
        """What the audit log tells, without times, job ids and ports."""
        found: list[Mapping[str, Any]] = []
        for line in (self.folder / "audit.log").read_bytes().splitlines():
            entry = decode(line)
            assert isinstance(entry, dict)
            context = {"kind": entry["kind"], **entry["context"]}
            context.pop("job", None)
            if "peer" in context:
                context["peer"] = context["peer"].partition(":")[0]
            found.append(context)
        return found


class OpenTests(AccessCase):
    def setUp(self) -> None:
        super().setUp()
        (self.folder / "tokens").touch()

    def test_all_ways_in(self) -> None:
        """Plain, by TLS, with a certificate: all may do everything while there is no rule."""
        self.world.start_agent()
        self.world.start_dispatcher()
        certificate = self.certificate("web")
        for rpc in (
            self.caller(self.world.port),
            self.over_tls(self.tls_port),
            self.over_tls(self.certified_port, cert=certificate),
        ):
            with rpc:
                self.assertEqual("ä", rpc.host(HOST).echo("ä").get())
                # Once more on the kept connection.
                self.assertEqual(2, rpc.host(HOST).echo(2).get())
        names = [line.get("client") for line in self.audited() if line["kind"] == "job.ended"]
        self.assertEqual([None, None, None, None, "web", "web"], names)

    def test_who_must_not_come_in(self) -> None:
        """No certificate, one of a strange CA, and a peer that speaks no TLS: all are told
        apart by an error, and the dispatcher goes on."""
        self.world.start_dispatcher()
        stranger = make_authority("Clients").issue("web", client=True).write(self.folder, "no")
        cert = (str(stranger.certificate), str(stranger.key))
        for rpc in (
            self.over_tls(self.certified_port),
            self.over_tls(self.certified_port, cert=cert),
            self.caller(self.tls_port),
            self.caller(self.tls_port, ca_file=str(self.folder / "clients.pem")),
            self.over_tls(self.world.port),
        ):
            with rpc:
                with self.assertRaises(harp.CommunicationError):
                    rpc.job("x").get()
        with self.over_tls(self.certified_port, cert=self.certificate("web")) as rpc:
            with self.assertRaises(harp.RemoteError) as caught:
                rpc.job("x").get()
        self.assertEqual("invalid_jobid", caught.exception.type)

    def test_certificate_for_another_host(self) -> None:
        """The dispatcher's certificate must name the host that was asked for."""
        self.world.start_dispatcher()
        with harp.HarpCaller(
            "127.0.0.2", self.tls_port, ca_file=str(self.folder / "servers.pem")
        ) as rpc:
            with self.assertRaises(harp.CommunicationError):
                rpc.job("x").get()

    def test_old_tls(self) -> None:
        """TLS 1.1 is refused."""
        self.world.start_dispatcher()
        context = ssl.create_default_context(cafile=str(self.folder / "servers.pem"))
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        self.assertEqual("TLSv1.2", self.spoken(context, ssl.TLSVersion.TLSv1_2))
        self.assertEqual("TLSv1.3", self.spoken(context, ssl.TLSVersion.TLSv1_3))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection(("127.0.0.1", self.tls_port), PATIENCE) as plain:
            with self.assertRaises(OSError):
                context.wrap_socket(plain, server_hostname="127.0.0.1")

    def spoken(self, context: ssl.SSLContext, most: ssl.TLSVersion) -> str | None:
        context.maximum_version = most
        with socket.create_connection(("127.0.0.1", self.tls_port), PATIENCE) as plain:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as secured:
                return secured.version()

    def test_bad_line_by_tls(self) -> None:
        """It is answered, and the connection ends."""
        self.world.start_dispatcher()
        context = ssl.create_default_context(cafile=str(self.folder / "servers.pem"))
        with socket.create_connection(("127.0.0.1", self.tls_port), PATIENCE) as plain:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as secured:
                secured.sendall(b"what?\n")
                said = b"".join(iter(lambda: secured.recv(4096), b""))
        self.assertIn(b'"type":"invalid_request"', said)

    def test_renewed_certificate(self) -> None:
        """A reload greets new clients with the new certificate; who is connected stays so."""
        self.world.start_dispatcher()
        other = make_authority("Renewed")
        with self.over_tls(self.tls_port) as old:
            self.assertRaises(harp.RemoteError, old.job("x").get)
            other.issue("dispatcher", names=["127.0.0.1"]).write(self.folder, "server")
            self.reload()
            self.assertRaises(harp.RemoteError, old.job("x").get)
            with self.over_tls(self.tls_port) as late:
                self.assertRaises(harp.CommunicationError, late.job("x").get)
        (self.folder / "servers.pem").write_bytes(other.certificate_pem)
        with self.over_tls(self.tls_port) as new:
            self.assertRaises(harp.RemoteError, new.job("x").get)

    def test_bad_files(self) -> None:
        """A reload with files that can't be used names all of them, and changes nothing."""
        self.world.start_dispatcher()
        (self.folder / "server.key").write_text("none")
        (self.folder / "tokens").write_text("web:secret\n")
        done = self.world.harpcallerd("reload")
        self.assertEqual(1, done.returncode)
        self.assertIn("tokens: line 1: expected sha256$ and 64 hex", done.stderr)
        self.assertIn("server.key: expected a PEM private key", done.stderr)
        self.assertNotIn("secret", done.stderr)
        with self.over_tls(self.tls_port) as rpc:
            self.assertRaises(harp.RemoteError, rpc.job("x").get)


class RuleTests(AccessCase):
    rules = """\
[[allow]]
clients = ["web"]
operations = ["call", "get_result"]
procedures = ["echo"]
[[allow]]
clients = ["ops"]
"""

    def test_rules(self) -> None:
        """Each client may do what its rules say, whichever way it is known; what they don't is
        refused and told in the audit log."""
        web, ops = self.token("web"), self.token("ops")
        self.world.start_agent()
        self.world.start_dispatcher()
        with (
            self.caller(self.world.port) as anybody,
            self.over_tls(self.tls_port, token=web) as rpc,
        ):
            self.denied("a client that isn't known may not call", anybody.host(HOST).echo, 1)
            self.denied(f"web may not call restart on {HOST}", rpc.host(HOST).restart, "nginx")
            job = rpc.host(HOST).echo(5)
            self.assertEqual(5, job.get())
            self.denied("web may not get_status", job.info)
            self.denied("web may not cancel", job.cancel)
        with self.over_tls(self.certified_port, cert=self.certificate("ops")) as rpc:
            restarted = rpc.host(HOST).restart("nginx")
            self.assertEqual(("nginx", None), (restarted.get(), restarted.info()))
        with self.caller(self.world.port, token=web) as rpc:
            self.denied(
                f"web may not get_result of the job {restarted.id()}",
                rpc.job(restarted.id()).get,
            )
            with self.assertRaises(harp.RemoteError) as caught:
                rpc.job("none").get()
            self.assertEqual("invalid_jobid", caught.exception.type)
        with self.caller(self.world.port, token=ops[:-1] + "!") as rpc:
            self.denied("auth.token: not known here", rpc.job(job.id()).get)
        echo = {"client": "web", "host": HOST, "procedure": "echo"}
        restart = {"client": "ops", "host": HOST, "procedure": "restart"}
        told = self.audited()
        self.assertEqual(
            [
                {"kind": "job.submitted", **echo, "queue": None, "peer": "127.0.0.1"},
                {"kind": "job.ended", **echo, "outcome": "returned"},
                {"kind": "job.submitted", **restart, "queue": None, "peer": "127.0.0.1"},
                {"kind": "job.ended", **restart, "outcome": "returned"},
            ],
            [line for line in told if line["kind"] != "client.denied"],
        )
        denied = [line for line in told if line["kind"] == "client.denied"]
        self.assertEqual(
            [
                (None, "call", HOST, "echo"),
                ("web", "call", HOST, "restart"),
                ("web", "get_status", None, None),
                ("web", "cancel", None, None),
                ("web", "get_result", None, None),
                (None, "get_result", None, None),
            ],
            [
                (line["client"], line["operation"], line.get("host"), line.get("procedure"))
                for line in denied
            ],
        )
        for secret in (web, ops):
            self.assertNotIn(secret, (self.folder / "harpcaller.log").read_text())

    def denied(self, message: str, ask: Any, *args: object) -> None:
        with self.assertRaises(harp.RemoteError) as caught:
            ask(*args)
        self.assertEqual("not_allowed", caught.exception.type)
        self.assertIn(message, str(caught.exception))

    def test_own_certificates_are_looked_at_each_time(self) -> None:
        """Where clients show certificates no session is resumed, which would outlive them."""
        self.configure("")
        (self.folder / "tokens").touch()
        self.world.start_dispatcher()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            self.assertTrue(self.resumes(self.tls_port, version))
            self.assertFalse(self.resumes(self.certified_port, version))

    def resumes(self, port: int, version: ssl.TLSVersion) -> bool:
        context = ssl.create_default_context(cafile=str(self.folder / "servers.pem"))
        context.load_cert_chain(*self.certificate("web"))
        context.minimum_version = context.maximum_version = version
        session = None
        reused: list[bool] = []
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain:
                with context.wrap_socket(
                    plain, server_hostname="127.0.0.1", session=session
                ) as secured:
                    secured.sendall(b'{"harpcaller":1,"get_result":"none"}\n')
                    self.assertIn(b'"type":', secured.recv(4096))
                    session = secured.session
                    reused.append(bool(secured.session_reused))
        return reused[1]

    def test_exchanged_token(self) -> None:
        """A client's new token counts from the reload on, its old one until it is taken out,
        and jobs that wait go on as the client's."""
        old = self.token("web")
        self.world.start_dispatcher()
        new = self.token("web")
        with self.caller(self.world.port, token=new) as rpc:
            self.denied("auth.token: not known here", rpc.job("x").get)
            self.reload()
            self.let_in(rpc)
            with self.caller(self.world.port, token=old) as late:
                self.let_in(late)
                (self.folder / "tokens").write_text(self.hashes()[-1])
                self.reload()
                # Also on a connection that is open: whoever stole it keeps it open.
                self.denied("auth.token: not known here", late.job("x").get)
            self.let_in(rpc)

    def hashes(self) -> list[str]:
        return (self.folder / "tokens").read_text().splitlines(keepends=True)

    def let_in(self, rpc: harp.HarpCaller) -> None:
        with self.assertRaises(harp.RemoteError) as caught:
            rpc.job("x").get()
        self.assertEqual("invalid_jobid", caught.exception.type)

    def test_own_jobs(self) -> None:
        """A rule may keep a client to its own jobs, also after the dispatcher was started anew."""
        web, ops = self.token("web"), self.token("ops")
        self.configure('[[allow]]\nclients = ["web", "ops"]\njobs = "own"\n')
        self.world.start_agent()
        first = self.world.start_dispatcher()
        with self.caller(self.world.port, token=web) as rpc:
            job = rpc.host(HOST).echo(5)
            self.assertEqual(5, job.get())
        for _ in range(2):
            with self.caller(self.world.port, token=web) as rpc:
                self.assertEqual((5, None), (rpc.job(job.id()).get(), rpc.job(job.id()).info()))
            with self.caller(self.world.port, token=ops) as rpc:
                self.denied("ops may not get_result of the job", rpc.job(job.id()).get)
                self.denied("ops may not get_status of the job", rpc.job(job.id()).info)
                self.denied("ops may not cancel of the job", rpc.job(job.id()).cancel)
            first.stop()
            first = self.world.start_dispatcher()

    def test_rules_hold_at_once(self) -> None:
        """A rule that is taken out is so for connections that are open, too."""
        (self.folder / "tokens").touch()
        self.world.start_dispatcher()
        with self.over_tls(self.certified_port, cert=self.certificate("web")) as rpc:
            self.let_in(rpc)
            self.configure('[[allow]]\nclients = ["ops"]\n')
            self.reload()
            self.denied("web may not get_result", rpc.job("x").get)

    def test_client_is_known_after_a_restart(self) -> None:
        """Who submitted a job is on disk with it."""
        web = self.token("web")
        # An agent that takes calls and never says anything.
        with socket.create_server(("127.0.0.1", self.world.agent_port)) as agent:
            agent.settimeout(PATIENCE)
            first = self.world.start_dispatcher()
            with self.caller(self.world.port, token=web) as rpc:
                job = rpc.host(HOST).echo(1)
            with agent.accept()[0]:
                first.kill()
        self.world.start_dispatcher()
        with self.caller(self.world.port, token=web) as rpc:
            # Whether it counts as started depends on what was on disk by then.
            self.assertRaises(harp.RemoteError, rpc.job(job.id()).get)
        ended = [line["client"] for line in self.audited() if line["kind"] == "job.ended"]
        self.assertEqual(["web"], ended)

    def test_command(self) -> None:
        """``harp`` takes files and the environment; a token is never among its arguments."""
        token = self.token("ops")
        (self.folder / "token").write_text(token + "\n")
        self.world.start_agent()
        self.world.start_dispatcher()
        ca = f"--ca-file={self.folder / 'servers.pem'}"
        at = f"--dispatcher=127.0.0.1:{self.tls_port}"
        call = ("call", HOST, "echo", "5")
        self.assertEqual((0, "5\n"), self.harp(*call, at, ca, "--token-file=token")[:2])
        environ = {
            "HARPCALLER": f"127.0.0.1:{self.tls_port}",
            "HARPCALLER_CA_FILE": str(self.folder / "servers.pem"),
            "HARPCALLER_TOKEN": token,
        }
        self.assertEqual((0, "5\n"), self.harp(*call, **environ)[:2])
        code, _, error = self.harp(*call, at, ca)
        self.assertEqual(1, code)
        self.assertIn("a client that isn't known may not call", error)
        code, _, error = self.harp(*call, "--token-file=none")
        self.assertEqual(2, code)
        self.assertIn("argument --token-file: none: No such file or directory", error)
        code, _, error = self.harp(*call, "--cert=token")
        self.assertEqual(2, code)
        self.assertIn("token: cannot be used as a certificate with its key", error)

    def harp(self, *arguments: str, **environ: str) -> tuple[int, str, str]:
        done = subprocess.run(
            our_command("harp", *arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=self.folder,
            env={**os.environ, "HARPCALLER": "127.0.0.1:1", **environ},
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr
