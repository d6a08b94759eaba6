"""What clients ask about hosts instead of jobs, and the answers (``doc/protocol`` §1).

An extension: nothing is called, and nothing is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Union

from harpcaller.wire.fields import BadField, as_string
from harpcaller.wire.procedures import ProcedureList, procedures_member
from harpcaller.wire.values import TRUE, Raw, build, decode, encode


@dataclass(frozen=True)
class ListHosts:
    """Ask which hosts the registry has."""


@dataclass(frozen=True)
class ListProceduresOf:
    """Ask a host's agent which procedures it has."""

    host: str


@dataclass(frozen=True)
class HostList:
    """The registry's hosts, in order; names only, never addresses or credentials."""

    names: tuple[str, ...]


#: What can be asked about hosts.
RegistryRequest = Union[ListHosts, ListProceduresOf]


def decode_list_hosts(found: dict[str, Raw]) -> ListHosts:
    """Read the members of a request for the hosts.

    Raises:
        BadField: Its one member isn't true.
    """
    if found["list_hosts"] != TRUE:
        raise BadField("list_hosts: expected true")
    return ListHosts()


def decode_list_procedures(found: dict[str, Raw]) -> ListProceduresOf:
    """Read the members of a request for a host's procedures.

    Raises:
        BadField: The host isn't a string.
    """
    return ListProceduresOf(as_string(found["list_procedures"], "list_procedures"))


def registry_members(request: RegistryRequest) -> dict[str, Raw]:
    """Give the members of a request, but for its version."""
    if isinstance(request, ListHosts):
        return {"list_hosts": TRUE}
    return {"list_procedures": encode(request.host)}


def encode_hosts(names: Sequence[str]) -> bytes:
    """Answer with the hosts' names."""
    return build({"hosts": encode(list(names))}) + b"\n"


def encode_procedures(listed: ProcedureList) -> bytes:
    """Answer with a host's procedures."""
    return build({"procedures": procedures_member(listed)}) + b"\n"


def as_hosts(raw: Raw) -> HostList:
    """Read the value of ``hosts``.

    Raises:
        BadField: It isn't a list of strings.
    """
    names = decode(raw)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadField("hosts: expected a list of strings")
    # Lenient: a registry has no others, and what is shown must have a UTF-8 form.
    return HostList(tuple(name.encode("utf-8", "backslashreplace").decode() for name in names))
