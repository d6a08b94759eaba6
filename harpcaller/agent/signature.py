"""What procedures there are and which arguments fit them.

The template process describes its procedures; the server checks a call against the
description, so that a wrong call costs no process and runs no user's code.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass

from harpcaller.agent.proc import Procedure, StreamingProcedure
from harpcaller.errors import InvalidArgumentList
from harpcaller.wire import agent as wire
from harpcaller.wire.values import NotJSON, decode

#: How much of a docstring is told to callers who ask for it, in characters.
MAX_DOC = 10_000


class _Given:
    """Stands for a default value, which the server neither knows nor needs."""

    def __repr__(self) -> str:
        return "..."


_GIVEN = _Given()
_KINDS = {str(kind.name): kind for kind in inspect._ParameterKind}


@dataclass(frozen=True)
class Description:
    """A procedure as the server knows it."""

    name: str
    streaming: bool
    timeout_seconds: float | None
    signature: inspect.Signature
    doc: str = ""

    def told(self) -> wire.Procedure:
        """Describe it to a caller; the values of defaults aren't told."""
        return wire.Procedure(self.name, str(self.signature), self.doc, self.streaming)

    def check(self, arguments: bytes) -> None:
        """See whether arguments fit.

        Args:
            arguments: A JSON list (by position) or object (by name).

        Raises:
            InvalidArgumentList: They don't; the message says what is missing or too much.
        """
        try:
            given = decode(arguments)
        except NotJSON as error:
            raise InvalidArgumentList(f"arguments: {error}") from None
        try:
            if isinstance(given, dict):
                self.signature.bind(**given)
            else:
                self.signature.bind(*given)
        except TypeError as error:
            shown = f"{self.name}{self.signature}"
            raise InvalidArgumentList(f"{error}; the procedure is {shown[:500]}") from None


def describe(name: str, procedure: Procedure) -> dict[str, object]:
    """Describe a procedure as a JSON object, for :func:`from_object`.

    Raises:
        ValueError: It has no signature.
        TypeError: Likewise.
    """
    parameters = [
        [parameter.name, parameter.kind.name, parameter.default is parameter.empty]
        for parameter in procedure.signature().parameters.values()
    ]
    return {
        "name": name,
        "streaming": isinstance(procedure, StreamingProcedure),
        "timeout": procedure.timeout,
        "parameters": parameters,
        "doc": _doc(procedure),
    }


def _doc(procedure: Procedure) -> str:
    text = vars(procedure).get("__doc__")
    if text is None and type(procedure) not in (Procedure, StreamingProcedure):
        text = type(procedure).__doc__
    return inspect.cleandoc(text)[:MAX_DOC] if isinstance(text, str) else ""


def from_object(described: Mapping[str, object]) -> Description:
    """Read what :func:`describe` made."""
    timeout = described["timeout"]
    parameters = described["parameters"]
    assert isinstance(parameters, list)
    assert timeout is None or isinstance(timeout, (int, float))
    return Description(
        str(described["name"]),
        bool(described["streaming"]),
        timeout,
        inspect.Signature(
            [
                inspect.Parameter(
                    name, _KINDS[kind], default=inspect.Parameter.empty if needed else _GIVEN
                )
                for name, kind, needed in parameters
            ]
        ),
        str(described["doc"]),
    )
