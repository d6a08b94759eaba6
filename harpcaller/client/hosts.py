"""How programs name what they call, for every face: attributes are hosts, and theirs procedures.

Attribute names that users write are procedures and hosts, so the classes here keep their own
names few: ``host`` and ``job`` on a caller, none on a host or an agent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Callable, Generic, TypeVar

from harpcaller.client.translation import CallOptions

_Called = TypeVar("_Called")
_Procedure = TypeVar("_Procedure")
_Server = TypeVar("_Server")
_Self = TypeVar("_Self", bound="Host[Any]")


def _for_users(name: str) -> str:
    """Refuse what copying, pickling and consoles look for in objects, and must not find.

    Raises:
        AttributeError: The name begins with an underscore.
    """
    if name.startswith("_"):
        raise AttributeError(name)
    return name


class Procedure(Generic[_Called]):
    """A procedure; calling it calls that on the host."""

    def __init__(
        self, call: Callable[[tuple[Any, ...], dict[str, Any]], _Called], shown: str
    ) -> None:
        self._call = call
        self._shown = shown

    def __call__(self, *args: Any, **kwargs: Any) -> _Called:
        """Call it, with either positional or named arguments."""
        return self._call(args, kwargs)

    def __repr__(self) -> str:
        return f"<harp.{type(self).__name__} {self._shown}>"


class Procedures(Generic[_Procedure]):
    """What has procedures as attributes, and those with odder names in brackets."""

    def __init__(self, make_procedure: Callable[[str], _Procedure], shown: str) -> None:
        self._make_procedure = make_procedure
        self._shown = shown

    def __getattr__(self, name: str) -> _Procedure:
        return self._make_procedure(_for_users(name))

    def __getitem__(self, name: str) -> _Procedure:
        return self._make_procedure(name)

    def __repr__(self) -> str:
        return f"<harp.{type(self).__name__} {self._shown}>"


class Host(Procedures[_Procedure]):
    """A host that a dispatcher knows, and how its procedures are to be called.

    Args:
        make: Makes a face's procedure of host, options and name.
    """

    def __init__(
        self, make: Callable[[str, CallOptions, str], _Procedure], host: str, options: CallOptions
    ) -> None:
        super().__init__(partial(make, host, options), host)
        self._make = make
        self._host = host
        self._options = options

    def __call__(
        self: _Self,
        queue: Mapping[str, Any] | None = None,
        concurrency: int | None = None,
        timeout: float | None = None,
        max_exec_time: float | None = None,
        info: Any = None,
    ) -> _Self:
        """Give the same host, to be called as :meth:`HarpCaller.host` describes.

        What isn't said stays as it was.
        """
        said = {
            "queue": queue,
            "concurrency": concurrency,
            "timeout": timeout,
            "max_exec_time": max_exec_time,
            "info": info,
        }
        changes: dict[str, Any] = {name: it for name, it in said.items() if it is not None}
        return type(self)(self._make, self._host, replace(self._options, **changes))


class Caller(Generic[_Server]):
    """The hosts that a dispatcher knows.

    Args:
        make_server: Makes a face's host of a name and options.
        address: What is shown as the dispatcher's address.
    """

    def __init__(self, make_server: Callable[[str, CallOptions], _Server], address: str) -> None:
        self._make_server = make_server
        self._shown = address

    def host(
        self,
        host: str,
        queue: Mapping[str, Any] | None = None,
        concurrency: int | None = None,
        timeout: float | None = None,
        max_exec_time: float | None = None,
        info: Any = None,
    ) -> _Server:
        """Give a host, and say how its procedures are to be called.

        Args:
            host: Its name in the dispatcher's registry.
            queue: The name of the queue to wait in, any JSON object; None to run at once.
            concurrency: How many of the queue's jobs may run at once, if this call creates it.
            timeout: The longest silence of the procedure, in seconds.
            max_exec_time: The longest run of the procedure, in seconds.
            info: Any JSON value, to be given back by :meth:`RemoteCall.info`.
        """
        return self._make_server(
            host, CallOptions(queue, concurrency, timeout, max_exec_time, info)
        )

    __call__ = host

    def __getattr__(self, name: str) -> _Server:
        return self.host(_for_users(name))

    def __repr__(self) -> str:
        return f"<harp.{type(self).__name__} {self._shown}>"
