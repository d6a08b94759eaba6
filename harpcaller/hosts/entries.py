"""What the filler script prints, and what the cache holds: one host per line.  Pure.

::

    {"hostname":"web01.example.net","address":"192.0.2.1","port":4306,
     "credentials":{"user":"rpc-system","password":"..."}}

all on one line.  ``"tls":{"fingerprint":"sha256:...","name":"..."}`` tells what is special about
the agent's certificate; other keys are passed over.  A line that isn't an entry is ignored, and
the reason tells only where and what sort of thing is wrong: any value may be a password in
the wrong place.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import attrs

from harpcaller.interfaces import Host, HostTLS
from harpcaller.wire.agent import Credentials
from harpcaller.wire.values import NotJSON, Raw, decode, encode

#: The longest line that can be an entry, in bytes.
MAX_LINE = 64 * 1024

_DEPTH = 32

#: As openssl writes it, or without the colons.
_fingerprint = re.compile(r"sha256:([0-9A-Fa-f]{64}|[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){31})").fullmatch


class NotAnEntry(ValueError):
    """A line that isn't an entry; the message is safe to be logged."""


def parse_line(line: bytes) -> Host:
    """Read an entry.

    Raises:
        NotAnEntry: It isn't one.
    """
    if len(line) > MAX_LINE:
        raise NotAnEntry(f"longer than {MAX_LINE} bytes")
    try:
        found = decode(line, max_depth=_DEPTH)
    except NotJSON:
        # The reason could quote a key.
        raise NotAnEntry("not a JSON object") from None
    if not isinstance(found, dict):
        raise NotAnEntry("not a JSON object")
    port = _field(found, "port")
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise NotAnEntry("port: expected an integer from 1 to 65535")
    credentials = _field(found, "credentials")
    if not isinstance(credentials, dict):
        raise NotAnEntry("credentials: expected an object")
    address = _word(found, "address", "address")
    if any(character <= " " or character == "\x7f" for character in address):
        raise NotAnEntry("address: expected a host name or an IP address")
    return Host(
        _word(found, "hostname", "hostname"),
        address,
        port,
        Credentials(
            _text(credentials, "user", "credentials.user"),
            _text(credentials, "password", "credentials.password"),
        ),
        _tls(found["tls"]) if "tls" in found else HostTLS(),
    )


def _tls(found: object) -> HostTLS:
    # A restriction that isn't understood must not be passed over.
    if not isinstance(found, dict) or not set(found) <= {"fingerprint", "name"}:
        raise NotAnEntry("tls: expected an object with fingerprint or name, and nothing else")
    fingerprint = found.get("fingerprint")
    if fingerprint is not None:
        if not isinstance(fingerprint, str) or not _fingerprint(fingerprint):
            raise NotAnEntry("tls.fingerprint: expected sha256: and 64 hexadecimal digits")
        fingerprint = fingerprint.removeprefix("sha256:").replace(":", "").lower()
    return HostTLS(fingerprint, _word(found, "name", "tls.name") if "name" in found else None)


def _field(found: dict[str, Any], key: str) -> Any:
    if key not in found:
        raise NotAnEntry(f"{key}: missing")
    return found[key]


def _text(found: dict[str, Any], key: str, name: str) -> str:
    if key not in found:
        raise NotAnEntry(f"{name}: missing")
    value = found[key]
    # Half a surrogate pair couldn't be sent on.
    if not isinstance(value, str) or not (value.isascii() or _has_utf8(value)):
        raise NotAnEntry(f"{name}: expected a string")
    return value


def _has_utf8(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _word(found: dict[str, Any], key: str, name: str) -> str:
    value = _text(found, key, name)
    if not value:
        raise NotAnEntry(f"{name}: expected a string that isn't empty")
    return value


def entry_line(host: Host) -> Raw:
    """Write an entry, without a newline."""
    tls = {}
    if host.tls.fingerprint is not None:
        tls["fingerprint"] = f"sha256:{host.tls.fingerprint}"
    if host.tls.name is not None:
        tls["name"] = host.tls.name
    return encode(
        {
            "hostname": host.hostname,
            "address": host.address,
            "port": host.port,
            "credentials": {
                "user": host.credentials.user,
                "password": host.credentials.password,
            },
            **({"tls": tls} if tls else {}),
        }
    )


@attrs.define
class Printed:
    """What a script printed, as far as it was read.

    Args:
        hosts: By name; the last of a duplicate has won.
        ignored: How many lines were no entries.
        reasons: Why, for the first few, with the lines' numbers.
    """

    hosts: dict[str, Host] = attrs.field(factory=dict)
    ignored: int = 0
    reasons: list[str] = attrs.field(factory=list)


#: For how many ignored lines a reason is kept.
FEW = 5


def read_printed(output: bytes, into: Printed) -> Generator[None, None, None]:
    """Read what a script printed, a line for each step.

    The steps let the caller do something else in between when there are many lines.
    """
    for number, line in enumerate(_lines(output), 1):
        try:
            host = parse_line(line)
        except NotAnEntry as reason:
            into.ignored += 1
            if into.ignored <= FEW:
                into.reasons.append(f"line {number}: {reason}")
        else:
            into.hosts[host.hostname] = host
        yield


def _lines(output: bytes) -> Iterator[bytes]:
    """Cut at newlines without a second copy of it all."""
    start = 0
    while start < len(output):
        end = output.find(b"\n", start)
        if end < 0:
            end = len(output)
        # Of a line too long to be an entry it is enough to know that.
        yield output[start : min(end, start + MAX_LINE + 1)]
        start = end + 1


def by_name(hosts: Iterable[Host]) -> tuple[Host, ...]:
    """Put hosts into the order in which they are listed."""
    return tuple(sorted(hosts, key=lambda host: host.hostname))
