"""Who may reach the dispatcher and what for: ``[[listener]]`` and ``[[allow]]``.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Literal

import attrs

from harpcaller.config import fields
from harpcaller.config.addresses import ListenAddress, listen_address
from harpcaller.config.fields import Mistake, Setting, unexpected
from harpcaller.config.lines import Place
from harpcaller.wire.client import OPERATIONS

#: What a rule calls a client that nothing is known of.
ANONYMOUS = "anonymous"


@attrs.frozen(kw_only=True)
class Door:
    """A port that clients come in by.

    Args:
        cert_file: The dispatcher's certificate and what signed it, in PEM; None means that
            the port speaks without TLS.
        key_file: The certificate's key, in PEM.
        client_ca_file: CAs, in PEM; clients need a certificate that leads to one of them.
    """

    address: ListenAddress
    cert_file: Path | None = None
    key_file: Path | None = None
    client_ca_file: Path | None = None


@attrs.frozen(kw_only=True)
class AllowRule:
    """What some clients may do.

    Each but the last is a tuple of shell patterns, of which one must match.

    Args:
        clients: Names of clients.
        operations: Operations by the name of their field on the wire; that of a call is
            ``procedure`` there and ``call`` here.
        hosts: Names of the registry.
        procedures: Names of procedures.
        jobs: Of what is done with jobs, whose: all, or those that the client has submitted.
    """

    clients: tuple[str, ...]
    operations: tuple[str, ...] = ("*",)
    hosts: tuple[str, ...] = ("*",)
    procedures: tuple[str, ...] = ("*",)
    jobs: Literal["all", "own"] = "all"


def door_keys(folder: Path) -> dict[str, Setting]:
    """The keys of a ``[[listener]]``."""
    path = fields.path(folder)
    return {
        "address": Setting("address", listen_address, mandatory=True),
        "cert_file": Setting("cert_file", path),
        "key_file": Setting("key_file", path),
        "client_ca_file": Setting("client_ca_file", path),
    }


def door_problems(
    listen: Collection[ListenAddress] | None, doors: Iterable[Door | None]
) -> Iterator[tuple[Place, str]]:
    """Tell what is wrong with the ports as a whole, and where it stands.

    Args:
        listen: The plain ones that the file has; None if it says nothing of them.
        doors: Those of tables of their own; None stands for one that has its problems already.
    """
    taken = set(listen or ())
    for index, door in enumerate(doors):
        if door is None:
            continue
        place: Place = ("listener", index)
        if (door.cert_file is None) != (door.key_file is None):
            missing, given = "cert_file", "key_file"
            if door.cert_file is not None:
                missing, given = given, missing
            yield (*place, missing), f"missing, and {given} is given"
        elif door.cert_file is None and door.client_ca_file is not None:
            yield (*place, "client_ca_file"), "without cert_file and key_file there is no TLS"
        if door.address.port and door.address in taken:
            yield (*place, "address"), f'"{door.address}" stands twice'
        taken.add(door.address)
    if listen is not None and not taken:
        yield ("listen",), "expected at least one address, got an empty list"


def allow_keys(_folder: Path) -> dict[str, Setting]:
    """The keys of an ``[[allow]]``."""
    patterns = _some("patterns", fields.text)
    return {
        "clients": Setting("clients", patterns, mandatory=True),
        "operations": Setting("operations", _some("operations", _operation)),
        "hosts": Setting("hosts", patterns),
        "procedures": Setting("procedures", patterns),
        "jobs": Setting("jobs", fields.choice("all", "own")),
    }


def _some(what: str, read_item: fields.Reader) -> fields.Reader:
    each = fields.each(what, read_item)

    def read(value: object) -> tuple[str, ...]:
        found: tuple[str, ...] = each(value)
        if not found:
            raise Mistake("expected at least one, got an empty list")
        return found

    return read


def _operation(value: object) -> str:
    if value not in ("*", *OPERATIONS):
        raise unexpected(f'"*" or one of {", ".join(OPERATIONS)}', value)
    assert isinstance(value, str)
    return value
