"""Loading a procedures file: ordinary Python, run once in the template process."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType

from harpcaller.agent.proc import Procedure
from harpcaller.agent.signature import Parameters, describe, parameters_of

#: The name that a procedures file has as a module, as exceptions tell it.
MODULE = "harpd_procedures"


class NotLoadable(Exception):
    """The file can't be used; the message, of one line, says where and why."""


class Procedures:
    """The procedures of one file.

    Args:
        by_name: The procedures, by the name of the global variable that holds them.

    Attributes:
        parameters: What they take, likewise.

    Raises:
        NotLoadable: One has no signature that could be known.
    """

    def __init__(self, by_name: dict[str, Procedure]) -> None:
        self.by_name = by_name
        self.parameters: dict[str, Parameters] = {}
        for name, procedure in by_name.items():
            with _named(name):
                self.parameters[name] = parameters_of(procedure)

    def descriptions(self) -> list[dict[str, object]]:
        """Describe them all, for the server.

        Raises:
            NotLoadable: An option of one makes no sense.
        """
        described = []
        for name, procedure in self.by_name.items():
            with _named(name):
                described.append(describe(name, procedure))
        return described


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError) as error:
        raise NotLoadable(f"procedure {name}: {error}") from None


def load(path: str, prepend: Iterable[str] = (), append: Iterable[str] = ()) -> Procedures:
    """Run a procedures file and gather what it defines.

    Args:
        path: The file.
        prepend: Folders that it imports from before all others.
        append: Folders that it imports from after all others.

    Raises:
        NotLoadable: It can't be read, isn't Python, raises, or defines nonsense.
    """
    try:
        with open(path, "rb") as stream:
            source = stream.read()
    except OSError as error:
        raise NotLoadable(f"{path}: {error.strerror or error}") from None
    try:
        code = compile(source, path, "exec", dont_inherit=True)
    except SyntaxError as error:
        place = f"{path}:{error.lineno}" if error.lineno else path
        raise NotLoadable(f"{place}: {error.msg}") from None
    # First of all, since a folder of the operator's may have a harpd.py in it: this one.
    importlib.import_module("harpd.proc")
    sys.path[:0] = prepend
    sys.path.extend(append)
    # A module of its own in sys.modules, so that what the file defines can be pickled.
    # It is not imported the usual way, which would leave a cache file beside it.
    module = ModuleType(MODULE)
    module.__file__ = path
    sys.modules[MODULE] = module
    try:
        exec(code, module.__dict__)  # noqa: S102 - running the operator's file is the task
    except BaseException as error:  # whatever it is, SystemExit too
        raise NotLoadable(_explained(path, error)) from error
    return Procedures(
        {name: value for name, value in vars(module).items() if isinstance(value, Procedure)}
    )


def _explained(path: str, error: BaseException) -> str:
    """Say where in the file it went wrong, and how."""
    lines = [line for file, line in _places(error) if file == path]
    kind = type(error).__name__
    said = " ".join(f"{kind}: {error}".split())
    if isinstance(error, SyntaxError) and error.filename:
        # In a module that the file imports.
        said = f"{error.filename}:{error.lineno}: {error.msg}"
    place = f"{path}:{lines[-1]}" if lines else path
    return f"{place}: {said}"


def _places(error: BaseException) -> list[tuple[str, int]]:
    return [
        (frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)
    ]
