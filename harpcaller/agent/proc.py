"""What a procedures file imports, as ``harpd.proc``.

A procedure is a global variable that holds a :class:`Procedure` or a
:class:`StreamingProcedure`; the decorators make them of plain functions, which stay
callable as before.  Nothing here runs a process: limits and users are only written down,
for the agent to carry out.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, Callable, Iterable, Union, overload

__all__ = ["Procedure", "Result", "StreamingProcedure", "procedure", "streaming_procedure"]

#: A user or a group: its name, or its number.
Account = Union[str, int]


class Result:
    """The end result of a streaming procedure, yielded as its last item."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Result({self.value!r})"


class Procedure:
    """A function that can be called from afar, and how it is to be run.

    Subclasses may define ``__call__`` with a signature of its own instead of passing a
    function, and may leave ``__init__`` uncalled.

    Args:
        function: What to run.
        uid: The user to run it as; the agent's default user if not given.
        gid: The group to run it as, or a list: the first is the group, all are
            supplementary groups.  The user's own groups if not given.
        timeout: How long it may take, in seconds; there is no limit if not given.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of range.
    """

    function: Callable[..., Any] | None = None
    uid: Account | None = None
    gid: Account | list[Account] | None = None
    timeout: float | None = None

    def __init__(
        self,
        function: Callable[..., Any] | None = None,
        *,
        uid: Account | None = None,
        gid: Account | Iterable[Account] | None = None,
        timeout: float | None = None,
    ) -> None:
        if function is not None:
            if not callable(function):
                raise TypeError(f"expected a function, got {function!r}")
            self.function = function
            functools.update_wrapper(self, function)
        if uid is not None:
            self.uid = _account("uid", uid)
        if gid is not None:
            self.gid = _groups(gid)
        if timeout is not None:
            self.timeout = _seconds(timeout)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function here and now, as if it had no decorator."""
        if self.function is None:
            raise TypeError(f"{type(self).__name__} has no function and defines no __call__")
        return self.function(*args, **kwargs)

    def signature(self) -> inspect.Signature:
        """Tell what arguments it takes."""
        if self.function is not None:
            return inspect.signature(self.function)
        return inspect.signature(self)


class StreamingProcedure(Procedure):
    """A procedure whose items go to the caller as they come.

    The function returns something to iterate over.  An item that is a :class:`Result` is
    the end result and the last; without one, the end result is null.
    """


@overload
def procedure(function: Callable[..., Any], /) -> Procedure: ...


@overload
def procedure(
    *,
    uid: Account | None = None,
    gid: Account | Iterable[Account] | None = None,
    timeout: float | None = None,
) -> Callable[[Callable[..., Any]], Procedure]: ...


def procedure(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a procedure; see :class:`Procedure` for the options."""
    return _decorated(Procedure, function, options)


@overload
def streaming_procedure(function: Callable[..., Any], /) -> StreamingProcedure: ...


@overload
def streaming_procedure(
    *,
    uid: Account | None = None,
    gid: Account | Iterable[Account] | None = None,
    timeout: float | None = None,
) -> Callable[[Callable[..., Any]], StreamingProcedure]: ...


def streaming_procedure(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a generator function a streaming procedure; see :class:`Procedure`."""
    return _decorated(StreamingProcedure, function, options)


def _decorated(
    kind: Callable[..., Procedure], function: Callable[..., Any] | None, options: Any
) -> Any:
    if function is not None:
        return kind(function, **options)
    # Made once without a function, so that a bad option is told at the decorator's line.
    kind(**options)
    return functools.partial(kind, **options)


def _account(what: str, account: Any) -> Account:
    if isinstance(account, bool) or not isinstance(account, (str, int)):
        raise TypeError(f"{what}: expected a name or a number, got {account!r}")
    if account == "" or (isinstance(account, int) and account < 0):
        raise ValueError(f"{what}: expected a name or a number, got {account!r}")
    return account


def _groups(gid: Any) -> Account | list[Account]:
    if isinstance(gid, (str, int)):
        return _account("gid", gid)
    if not isinstance(gid, Iterable):
        raise TypeError(f"gid: expected a name, a number or a list of them, got {gid!r}")
    groups = [_account("gid", group) for group in gid]
    if not groups:
        raise ValueError("gid: expected at least one group, got an empty list")
    return groups


def _seconds(timeout: Any) -> float:
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout: expected seconds, got {timeout!r}")
    if not 0 < timeout < float("inf"):
        raise ValueError(f"timeout: expected a positive number of seconds, got {timeout!r}")
    return float(timeout)
