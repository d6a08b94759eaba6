"""What operators write: both daemons' settings, tokens, users, certificates, command lines."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from harpcaller.agent.auth.hashes import BadHash, read_hash
from harpcaller.agent.auth.passfile import parse as parse_users
from harpcaller.call.trust import load_trust
from harpcaller.config import agent, dispatcher
from harpcaller.config.addresses import listen_address
from harpcaller.config.agent_logging import parse_logging
from harpcaller.config.fields import Mistake
from harpcaller.config.problems import ConfigurationError
from harpcaller.config.tokens import BadTokens, Tokens
from harpcaller.control.arguments import BadUsage
from harpcaller.control.arguments import parse as parse_arguments
from harpcaller.testing.certificates import make_authority, of_unknown_version
from tests.fuzz.target import Target, same

_TREE = Path(__file__).parent.parent.parent
_CERTIFICATE = make_authority()
_YAML = (
    b"- ",
    b": ",
    b"\n",
    b"  ",
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!int ",
    b"!!bool ",
    b"? ",
    b"|",
    b"{",
    b"[",
)


def _text(read: Callable[[str], object]) -> Callable[[bytes], None]:
    """Feed a parser that takes the text of a file, which isn't text in any case."""

    def look_at(data: bytes) -> None:
        with suppress(ConfigurationError, UnicodeDecodeError):
            _ = read(data.decode("utf-8"))

    return look_at


def dispatcher_settings(data: bytes) -> None:
    """The dispatcher's file, which is TOML."""
    with suppress(ConfigurationError):
        _ = dispatcher.parse(data, Path("/etc/harpcaller/harpcaller.toml"))


def tokens(data: bytes) -> None:
    """The file of tokens; a mistake is told without what is in the line."""
    text = data.decode("latin-1")
    try:
        known = Tokens(text)
    except BadTokens as error:
        same(1 <= error.line <= text.count("\n") + 1, True)
        return
    same(known.owner("secret"), known.owner("secret"))


def users(data: bytes) -> None:
    """The agent's users and their hashes."""
    text = data.decode("latin-1")
    with suppress(ConfigurationError):
        _ = parse_users("users", text)
    with suppress(BadHash):
        _ = read_hash(text)


def certificates(data: bytes) -> None:
    """A file of certificates."""
    with suppress(ConfigurationError):
        _ = load_trust("file", None, False, lambda _path: data)
    with suppress(ConfigurationError):
        _ = load_trust(None, "file", False, lambda _path: data)


def addresses(data: bytes) -> None:
    """An entry of ``listen``."""
    with suppress(Mistake):
        address = listen_address(data.decode("latin-1"))
        same(listen_address(str(address)), address)


def arguments(data: bytes) -> None:
    """A command line of ``harpcallerd``, a word a line."""
    with suppress(BadUsage):
        _ = parse_arguments(data.decode("utf-8", "surrogateescape").split("\n"))


TARGETS = (
    Target(
        "dispatcher-settings",
        dispatcher_settings,
        (
            (_TREE / "etc/harpcaller/harpcaller.toml").read_bytes(),
            b'stream_directory="s"\nhost_db="h"\nhost_db_script="x"\nlisten=["[::1]:1"]\n'
            b'[[listener]]\naddress="*:2"\ncert_file="c"\nkey_file="k"\n'
            b'[[allow]]\nclients=["a*"]\noperations=["call"]\nhosts=["*"]\nprocedures=["?"]\n',
        ),
        (
            b"[[allow]]\n",
            b"[[listener]]\n",
            b"[erlang]\n",
            b'"',
            b"'''",
            b"= ",
            b"[",
            b"]",
            b"{",
            b"\n",
            b"listen",
            b"nan",
            b"-1",
            b"1979-05-27T07:32:00Z",
            b"a.b.c = 1\n",
        ),
    ),
    Target(
        "agent-settings",
        _text(lambda text: agent.parse(text, "harpd.conf", Path("/etc/harpd"))),
        (
            (_TREE / "etc/harpd/harpd.conf").read_bytes(),
            b"network: {certfile: c, keyfile: k, port: 1}\nauthentication:\n  module: a.b\n"
            b"limits:\n  max_memory: 1G\n  kill_grace: 1.5\n",
        ),
        (*_YAML, b"network", b"limits", b"python", b"path", b"prepend"),
    ),
    Target(
        "agent-logging",
        _text(lambda text: parse_logging(text, "logging.yaml", Path("/etc/harpd"))),
        (
            b"level: info\nhandlers:\n  - to: file\n    path: l\n    format: json\n"
            b"  - {to: syslog}\n",
        ),
        (*_YAML, b"handlers", b"level", b"stdout", b"version: 1\n"),
    ),
    Target(
        "tokens",
        tokens,
        (b"# ours\nweb:sha256$%s\n\nops:sha256$%s\n" % (b"0a" * 32, b"0b" * 32),),
        (b":", b"sha256$", b"\n", b"#", b"0a" * 32),
    ),
    Target(
        "users",
        users,
        (
            b"# ours\na:$6$salt$%s\n" % (b"x" * 86),
            b"$5$rounds=1000$salt$%s" % (b"x" * 43),
            b"$y$j9T$salt$%s" % (b"x" * 43),
            b"$2b$10$x",
        ),
        (b":", b"$", b"\n", b"#", b"rounds=", b"999999999999", b"$6$", b"$5$", b"$y$", b"$1$"),
    ),
    Target(
        "certificates",
        certificates,
        (_CERTIFICATE.certificate_pem, of_unknown_version(_CERTIFICATE).certificate_pem),
        (
            b"-----BEGIN CERTIFICATE-----\n",
            b"-----END CERTIFICATE-----\n",
            b"-----BEGIN TRUSTED CERTIFICATE-----\n",
            b"\n",
            b"AAAA",
        ),
    ),
    Target(
        "addresses",
        addresses,
        (b"*:3502", b"[::1]:1", b"127.0.0.1:0", b"web01.example.net.:65535"),
        (b":", b"[", b"]", b".", b"*", b"::", b"%eth0", b"1", b"a"),
    ),
    Target(
        "arguments",
        arguments,
        (b"prune-jobs\n--age=3.5", b'queue-cancel\n"q"', b"start\n--debug\n--config=f", b"info\nx"),
        (b"\n", b"--", b"=", b"-h", b"--timeout=", b"list", b"cancel", b"--socket=", b"1e400"),
    ),
)
