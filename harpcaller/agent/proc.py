"""What a procedures file imports, as ``harpd.proc``.

A procedure is a global variable that holds a :class:`Procedure` or a
:class:`StreamingProcedure`; the decorators make them of plain functions, which stay
callable as before.  Nothing here runs a process: limits and users are only written down,
for the agent to carry out.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Union, overload

__all__ = [
    "CallInfo",
    "Procedure",
    "Result",
    "StreamingProcedure",
    "procedure",
    "streaming_procedure",
]

#: A user or a group: its name, or its number.
Account = Union[str, int]


class Result:
    """The end result of a streaming procedure, yielded as its last item."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Result({self.value!r})"


@dataclass(frozen=True)
class CallInfo:
    """Who calls: what a parameter that is annotated with this class gets.

    Such a parameter isn't for callers; the agent fills it in, and they can't.

    Args:
        user: The user whose password was checked.
        peer: The address that the call came from.
        id: The call's number, as in the agent's log; one that runs has no other's.
    """

    user: str
    peer: str
    id: int


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
        lock: Calls of procedures with the same lock run one at a time, in the order in
            which they came.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of range.
    """

    function: Callable[..., Any] | None = None
    uid: Account | None = None
    gid: Account | list[Account] | None = None
    timeout: float | None = None
    lock: str | None = None

    def __init__(
        self,
        function: Callable[..., Any] | None = None,
        *,
        uid: Account | None = None,
        gid: Account | Iterable[Account] | None = None,
        timeout: float | None = None,
        lock: str | None = None,
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
        if lock is not None:
            self.lock = _lock(lock)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function here and now, as if it had no decorator."""
        if self.function is None:
            raise TypeError(f"{type(self).__name__} has no function and defines no __call__")
        return self.function(*args, **kwargs)

    def signature(self) -> inspect.Signature:
        """Tell what arguments the function takes; :class:`CallInfo` is one of them."""
        if self.function is not None:
            return inspect.signature(self.function)
        return inspect.signature(self)

    def check_options(self) -> None:
        """See whether the options make sense; a subclass may have set any of them itself.

        Raises:
            TypeError: An option is of the wrong type.
            ValueError: An option is out of range.
        """
        if self.uid is not None:
            _ = _account("uid", self.uid)
        if self.gid is not None:
            _ = _groups(self.gid)
        if self.timeout is not None:
            _ = _seconds(self.timeout)
        if self.lock is not None:
            _ = _lock(self.lock)


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
    lock: str | None = None,
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
    lock: str | None = None,
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
    # The highest number means "leave it as it is" to the system.
    if account == "" or (isinstance(account, int) and not 0 <= account < 2**32 - 1):
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


def _lock(lock: Any) -> str:
    if not isinstance(lock, str):
        raise TypeError(f"lock: expected a name, got {lock!r}")
    if not lock:
        raise ValueError("lock: expected a name, got an empty one")
    return lock
