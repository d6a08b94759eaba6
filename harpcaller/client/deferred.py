"""The library for programs on Twisted: the same names as in :mod:`harp`, giving Deferreds.

::

    from harpcaller.client.deferred import HarpCaller

    rpc = HarpCaller(reactor, "dispatcher.example.net")

    async def restart() -> object:
        job = await rpc.host("web01").restart_service("nginx")
        async for record in job.follow(since=0):
            print(record)
        return await job.get()

Deferreds may be cancelled: that closes the connection and leaves the job as it is.  Nothing
of the library imports this module, so that Twisted is needed by those programs only that do.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Callable, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from harpcaller.client import jobs
from harpcaller.client.agents import Agent
from harpcaller.client.asking import Connections
from harpcaller.client.channel import shown_address
from harpcaller.client.deferred_lines import ReactorLine, SecuredLine, connect, connect_secured
from harpcaller.client.exceptions import (
    CALL_CANCELLED,
    CALL_NOT_FINISHED,
    CancelledException,
    CommunicationError,
    HarpException,
    RemoteError,
    RemoteException,
)
from harpcaller.client.hosts import Caller, Host, Procedure, Procedures
from harpcaller.client.pushed import PushedChannel
from harpcaller.client.streams import AgentItems, Result, ValueStream
from harpcaller.client.tls import ClientCertificate, dispatcher_context, tls_context
from harpcaller.client.translation import CallOptions
from harpcaller.wire.agent import DEFAULT_PORT as AGENT_PORT
from harpcaller.wire.agent import Credentials
from harpcaller.wire.client import DEFAULT_PORT

__all__ = [
    "CALL_CANCELLED",
    "CALL_NOT_FINISHED",
    "CancelledException",
    "CommunicationError",
    "HarpCaller",
    "HarpException",
    "HarpProcedure",
    "HarpServer",
    "HarpStreamIterator",
    "RecordIterator",
    "RemoteCall",
    "RemoteError",
    "RemoteException",
    "RemoteProcedure",
    "RemoteServer",
    "Result",
]

_Self = TypeVar("_Self", bound="ValueIterator")


class ValueIterator:
    """A stream's items, one by one, as an async iterator or given to a function.

    It holds a connection until its end; left earlier it wants :meth:`close`, which ``async with``
    does by itself.
    """

    def __init__(self, stream: ValueStream) -> None:
        self._stream = stream

    def __aiter__(self: _Self) -> _Self:
        return self

    def __anext__(self) -> Deferred[Any]:
        """Wait for the next item."""
        return Deferred.fromCoroutine(self._stream.__anext__())

    def all(self) -> Deferred[list[Any]]:
        """Wait for all items that are still to come."""
        return Deferred.fromCoroutine(self._stream.all())

    def each(self, take: Callable[[Any], Deferred[Any] | None]) -> Deferred[None]:
        """Give every item to a function.

        Args:
            take: Takes an item.  While a Deferred that it gave hasn't fired, no more are read,
                and the other side is held back.

        Returns:
            Fires after the last item, or fails as waiting for an item does, or as ``take`` did.
        """
        return Deferred.fromCoroutine(self._each(take))

    async def _each(self, take: Callable[[Any], Deferred[Any] | None]) -> None:
        try:
            async for item in self._stream:
                taken = take(item)
                if taken is not None:
                    await taken
        finally:
            self.close()

    def close(self) -> None:
        """Want no more items."""
        self._stream.close()

    async def __aenter__(self: _Self) -> _Self:
        await self._stream.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class RecordIterator(ValueIterator):
    """The records of a job's stream; ``(number, record)`` of a numbered one.

    What waiting for one may fail with is

    - :class:`RemoteError`: there is no such job; how a job ended is never raised here;
    - :class:`CommunicationError`: the connection broke.
    """


class RemoteCall:
    """A job: one call of one procedure on one host, from its submission on.

    The methods are those of :class:`harp.RemoteCall`, and what is raised there the Deferreds
    here fail with.
    """

    StreamIterator = RecordIterator

    def __init__(self, job: jobs.RemoteCall) -> None:
        self._job = job

    def id(self) -> str:
        """Give the job's name, to be kept and handed to :meth:`HarpCaller.job` later."""
        return self._job.id()

    def get(self, wait: bool = True) -> Deferred[Any]:
        """Give the result; fail if it is an error."""
        return Deferred.fromCoroutine(self._job.get(wait))

    def result(self, wait: bool = False) -> Deferred[Any]:
        """Give how the job ended: its result, an exception object, or a mark."""
        return Deferred.fromCoroutine(self._job.result(wait))

    def cancel(self) -> Deferred[bool]:
        """End the job, and give whether this ended it."""
        return Deferred.fromCoroutine(self._job.cancel())

    def follow(
        self, since: int | None = None, recent: int | None = None, numbered: bool = False
    ) -> RecordIterator:
        """Give the stream's records until the job ends, from when they are first waited for."""
        return RecordIterator(self._job.follow(since, recent, numbered))

    def stream(
        self, since: int | None = None, recent: int | None = None, numbered: bool = False
    ) -> RecordIterator:
        """Give the stream's records that there are when they are first waited for."""
        return RecordIterator(self._job.stream(since, recent, numbered))

    def host(self) -> Deferred[str]:
        """Give the name of the host that was called."""
        return Deferred.fromCoroutine(self._job.host())

    def procedure(self) -> Deferred[str]:
        """Give the name of the procedure that was called."""
        return Deferred.fromCoroutine(self._job.procedure())

    def args(self) -> Deferred[Any]:
        """Give the arguments: a list, or a dictionary if they were named."""
        return Deferred.fromCoroutine(self._job.args())

    def info(self) -> Deferred[Any]:
        """Give what the caller had attached to the call, or None."""
        return Deferred.fromCoroutine(self._job.info())

    def submit_time(self) -> Deferred[int]:
        """Give when the job was submitted, in Unix seconds."""
        return Deferred.fromCoroutine(self._job.submit_time())

    def start_time(self) -> Deferred[int | None]:
        """Give when the job started, in Unix seconds, or None if it didn't."""
        return Deferred.fromCoroutine(self._job.start_time())

    def end_time(self) -> Deferred[int | None]:
        """Give when the job ended, in Unix seconds, or None if it didn't."""
        return Deferred.fromCoroutine(self._job.end_time())

    def __repr__(self) -> str:
        return repr(self._job)


class RemoteProcedure(Procedure[Deferred[RemoteCall]]):
    """A procedure on a host; its call gives the job, on the dispatcher's disk by then.

    What may go wrong is described at :class:`harp.RemoteProcedure`; if the Deferred is
    cancelled, the call may have become a job all the same.
    """


class RemoteServer(Host[RemoteProcedure]):
    """A host: its attributes are its procedures.

    A name that isn't an attribute's goes in brackets: ``host["some.procedure"]("nginx")``.
    """


class HarpCaller(Caller[RemoteServer]):
    """A dispatcher.

    ``rpc.host("web01")``, ``rpc("web01")`` and ``rpc.web01`` all give the host of that name;
    calling a procedure on it gives a Deferred of a :class:`RemoteCall`.  Connections are kept for
    later requests until :meth:`close`, which the end of an ``async with`` block does too.

    Args:
        reactor: Where the connections are.
        host: The dispatcher's name or address, IPv4 or IPv6.
        port: Its TCP port.
        connect_timeout: Seconds that may pass until there is a connection, or None for as long
            as the system tries.
        read_timeout: The longest silence in seconds before a request fails with
            :class:`CommunicationError`; the wait for a result counts. None for any.
        ca_file: PEM file of the authorities one of which must have signed the dispatcher's
            certificate, which must name ``host``.  With it, or ``cert``, TLS is spoken; with
            ``cert`` alone, the system's authorities count.
        cert: PEM file of a certificate and its key, or one of each, to show the dispatcher.
        token: A token that tells the dispatcher who calls.

    Raises:
        HarpException: A file can't be used.
    """

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int = DEFAULT_PORT,
        connect_timeout: float | None = 10.0,
        read_timeout: float | None = None,
        *,
        ca_file: str | None = None,
        cert: ClientCertificate | None = None,
        token: str | None = None,
    ) -> None:
        tls = dispatcher_context(ca_file, cert)

        async def open_channel() -> PushedChannel:
            address = shown_address(host, port)
            if tls is None:
                line = ReactorLine(reactor, address, read_timeout)
                return await connect(reactor, host, port, connect_timeout, line)
            return await connect_secured(
                reactor,
                host,
                port,
                connect_timeout,
                SecuredLine(reactor, address, read_timeout, tls, host),
            )

        connections = Connections(open_channel, token)
        self._connections = connections
        self._reactor = reactor

        def server(host: str, options: CallOptions) -> RemoteServer:
            return RemoteServer(procedure, host, options)

        async def submit(
            host: str,
            options: CallOptions,
            name: str,
            args: tuple[Any, ...],
            kwargs: dict[str, Any],
        ) -> RemoteCall:
            return RemoteCall(await jobs.submit(connections, host, name, options, args, kwargs))

        def procedure(host: str, options: CallOptions, name: str) -> RemoteProcedure:
            def call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Deferred[RemoteCall]:
                return Deferred.fromCoroutine(submit(host, options, name, args, kwargs))

            return RemoteProcedure(call, f"{host}:{name}")

        super().__init__(server, shown_address(host, port))

    def job(self, job_id: str) -> RemoteCall:
        """Give the job that was submitted under this id, by this program or another."""
        return RemoteCall(jobs.RemoteCall(self._connections, str(job_id)))

    def close(self) -> Deferred[None]:
        """Close the kept connections, and fire when they are closed."""
        self._connections.close()
        # The reactor closes sockets on its next turn.
        return deferLater(self._reactor, 0, lambda: None)

    async def __aenter__(self) -> HarpCaller:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


class HarpStreamIterator(ValueIterator):
    """What a streaming procedure says; the last item is a :class:`Result`.

    Errors, the procedure's own exception among them, come out of it too.  Closing it before the
    end cancels the call; so does the end of an ``async with`` block.
    """


class HarpProcedure(Procedure[Deferred[Any]]):
    """A procedure of an agent; its call's Deferred has its value, or its stream."""


class HarpServer(Procedures[HarpProcedure]):
    """An agent: its attributes are its procedures.

    A call gives, or fails with, what one of :class:`harp.HarpServer` does; the stream of a
    procedure that streams is a :class:`HarpStreamIterator`.  The arguments after ``reactor``
    are the same, but that ``connect_timeout`` is for all addresses together, and once more
    for the handshake.
    """

    def __init__(
        self,
        reactor: Any,
        host: str,
        user: str,
        password: str,
        port: int = AGENT_PORT,
        ca_file: str | None = None,
        *,
        verify_hostname: bool = False,
        connect_timeout: float | None = 10.0,
        read_timeout: float | None = None,
    ) -> None:
        address = shown_address(host, port)
        tls = tls_context(ca_file, verify_hostname)

        async def open_channel() -> PushedChannel:
            line = SecuredLine(reactor, address, read_timeout, tls, host)
            return await connect_secured(reactor, host, port, connect_timeout, line)

        agent = Agent(address, Credentials(user, password), open_channel)

        async def call(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            given = await agent.call(name, args, kwargs)
            if isinstance(given, AgentItems):
                return HarpStreamIterator(ValueStream(given))
            return given

        def procedure(name: str) -> HarpProcedure:
            return HarpProcedure(
                lambda args, kwargs: Deferred.fromCoroutine(call(name, args, kwargs)),
                f"{address}:{name}",
            )

        super().__init__(procedure, address)
