"""What procedures there are and which arguments fit them.

The template process describes its procedures; the server checks a call against the
description, so that a wrong call costs no process and runs no user's code.
"""

from __future__ import annotations

import collections
import functools
import inspect
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harpcaller.agent.proc import CallInfo, Procedure, StreamingProcedure
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
    """A procedure as the server knows it.

    Args:
        name: What callers call it by.
        streaming: Whether records may come.
        timeout_seconds: How long it may take; None if there is no limit.
        signature: What callers may give it.
        lock: The lock that it needs to run; None if it needs none.
        reserved: Names that the agent gives a value, and callers can't.
        doc: What is written about it.
    """

    name: str
    streaming: bool
    timeout_seconds: float | None
    signature: inspect.Signature
    lock: str | None = None
    reserved: tuple[str, ...] = ()
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
                for name in self.reserved:
                    # Else it would be among the **others, and win over the agent's value.
                    if name in given:
                        raise TypeError(f"got an unexpected keyword argument {name!r}")
                self.signature.bind(**given)
            else:
                self.signature.bind(*given)
        except TypeError as error:
            shown = f"{self.name}{self.signature}"
            raise InvalidArgumentList(f"{error}; the procedure is {shown[:500]}") from None


def _wants_info(annotation: object, names: Mapping[str, Any]) -> bool:
    """Tell whether an annotation means :class:`CallInfo`, by itself or as an option.

    Args:
        annotation: What stands in the signature; a text if it wasn't evaluated.
        names: What the text's names mean.
    """
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, dict(names))  # noqa: S307 - the file was run as well
        except Exception:  # noqa: BLE001 - a name that is only there for type checkers
            assert isinstance(annotation, str)
            return annotation.rpartition(".")[2] == CallInfo.__name__
    return annotation is CallInfo or CallInfo in typing.get_args(annotation)


def _names(procedure: Procedure) -> Mapping[str, Any]:
    """What names mean where the procedure's function is defined."""
    function = procedure.function or type(procedure).__call__
    function = inspect.unwrap(function)
    while isinstance(function, functools.partial):
        function = inspect.unwrap(function.func)
    if not hasattr(function, "__globals__"):
        function = getattr(function, "__func__", type(function).__call__)
    return getattr(function, "__globals__", {})


def info_parameters(procedure: Procedure) -> list[str]:
    """Find the parameters that are for a :class:`CallInfo`."""
    names = _names(procedure)
    return [
        parameter.name
        for parameter in procedure.signature().parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and _wants_info(parameter.annotation, names)
    ]


@dataclass(frozen=True)
class Parameters:
    """What a procedure takes, found out once: it takes longer than a short call.

    Args:
        whole: All that its function takes.
        reserved: The names of what is for a :class:`CallInfo`.
        open_to_callers: The rest.
    """

    whole: inspect.Signature
    reserved: tuple[str, ...]
    open_to_callers: inspect.Signature

    def bind(
        self, arguments: object, info: CallInfo
    ) -> tuple[Sequence[object], Mapping[str, object]]:
        """Put a caller's arguments and the agent's own to their places.

        Args:
            arguments: A list (by position) or a mapping (by name), checked by the server.
            info: What its :class:`CallInfo` parameters get.

        Returns:
            What to call it with, by position and by name.

        Raises:
            TypeError: The arguments don't fit.
        """
        positional = arguments if isinstance(arguments, list) else []
        named = arguments if isinstance(arguments, dict) else {}
        if not self.reserved and not named:
            return positional, {}  # there is nothing to be put anywhere
        given = self.open_to_callers.bind(*positional, **named).arguments
        ours = dict.fromkeys(self.reserved, info)
        bound = inspect.BoundArguments(self.whole, collections.OrderedDict({**given, **ours}))
        return bound.args, bound.kwargs


def parameters_of(procedure: Procedure) -> Parameters:
    """Find out what a procedure takes.

    Raises:
        ValueError: It has no signature.
        TypeError: Likewise.
    """
    whole = procedure.signature()
    reserved = info_parameters(procedure)
    return Parameters(whole, tuple(reserved), _without(whole, reserved))


def _without(signature: inspect.Signature, names: list[str]) -> inspect.Signature:
    parameters = signature.parameters.values()
    return signature.replace(parameters=[one for one in parameters if one.name not in names])


def describe(name: str, procedure: Procedure) -> dict[str, object]:
    """Describe a procedure as a JSON object, for :func:`from_object`.

    Raises:
        ValueError: It has no signature, or an option of it makes no sense.
        TypeError: Likewise.
    """
    procedure.check_options()
    taken = parameters_of(procedure)
    parameters = [
        [parameter.name, parameter.kind.name, parameter.default is parameter.empty]
        for parameter in taken.open_to_callers.parameters.values()
    ]
    return {
        "name": name,
        "streaming": isinstance(procedure, StreamingProcedure),
        "timeout": procedure.timeout,
        "parameters": parameters,
        "lock": procedure.lock,
        "reserved": list(taken.reserved),
        "doc": _doc(procedure),
    }


def _doc(procedure: Procedure) -> str:
    text = vars(procedure).get("__doc__")
    if text is None and type(procedure) not in (Procedure, StreamingProcedure):
        text = type(procedure).__doc__
    return inspect.cleandoc(text)[:MAX_DOC] if isinstance(text, str) else ""


def from_object(described: Mapping[str, object]) -> Description:
    """Read what :func:`describe` made."""
    timeout, lock = described["timeout"], described["lock"]
    parameters, reserved = described["parameters"], described["reserved"]
    assert isinstance(parameters, list)
    assert isinstance(reserved, list)
    assert timeout is None or isinstance(timeout, (int, float))
    assert lock is None or isinstance(lock, str)
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
        lock,
        tuple(reserved),
        str(described["doc"]),
    )
