"""Procedures as an agent describes them, which a dispatcher passes on (``doc/protocol``)."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from harpcaller.wire.fields import BadField
from harpcaller.wire.values import Raw, decode, encode


@dataclass(frozen=True)
class Procedure:
    """A procedure as its agent describes it.

    Args:
        name: What it is called by.
        signature: Its parameters, for people: ``(service, patience=...)``.
        doc: Its docstring, without indentation; empty if it has none.
        streaming: Whether records may come before its result.
    """

    name: str
    signature: str
    doc: str
    streaming: bool


@dataclass(frozen=True)
class ProcedureList:
    """Which procedures an agent has, in the order of their file."""

    procedures: tuple[Procedure, ...]


def procedures_member(listed: ProcedureList) -> Raw:
    """Write the list as the value of ``procedures``."""
    return encode([asdict(procedure) for procedure in listed.procedures])


def as_procedures(raw: Raw) -> ProcedureList:
    """Read the value of ``procedures``; fields that aren't known are passed over.

    Raises:
        BadField: It is no list of procedures.
        NotJSON: A key stands twice in one of them.
    """
    described = decode(raw)
    if not isinstance(described, list):
        raise BadField("procedures: expected a list")
    return ProcedureList(tuple(_procedure(one) for one in described))


def _procedure(described: object) -> Procedure:
    if not isinstance(described, dict):
        raise BadField("procedures: expected objects in it")
    streaming = described.get("streaming")
    if not isinstance(streaming, bool):
        raise BadField("procedures.streaming: expected true or false")
    return Procedure(
        _text(described, "name"), _text(described, "signature"), _text(described, "doc"), streaming
    )


def _text(described: dict[str, object], key: str) -> str:
    value = described.get(key)
    if not isinstance(value, str):
        raise BadField(f"procedures.{key}: expected a string")
    # Lenient: it is for people.
    return value.encode("utf-8", "backslashreplace").decode("utf-8")
