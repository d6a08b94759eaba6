"""The library for asyncio: the same names as in :mod:`harp`, with ``await`` before what waits.

::

    import harp.aio

    async with harp.aio.HarpCaller("dispatcher.example.net") as rpc:
        job = await rpc.host("web01").restart_service("nginx")
        async for record in job.follow(since=0):
            print(record)
        print(await job.get())

A wait that is cancelled, or ends by :func:`asyncio.wait_for`, closes its connection and leaves
the job as it is.  Objects may outlive an event loop: connections of one aren't used in another.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from contextlib import suppress
from types import TracebackType
from typing import Any, Callable, Coroutine, TypeVar, cast

from harpcaller.client import jobs
from harpcaller.client.agents import Agent
from harpcaller.client.asking import Connections
from harpcaller.client.channel import attend, shown_address, why
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
from harpcaller.client.jobs import RecordIterator, RemoteCall
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

_Given = TypeVar("_Given")


class RemoteProcedure(Procedure[Coroutine[Any, Any, RemoteCall]]):
    """A procedure on a host; ``await`` its call for the job, not for the job's end.

    The job is on the dispatcher's disk by then.  What may be raised is

    - :class:`HarpException`: the call can't be written as a request;
    - :class:`RemoteError`: the dispatcher doesn't take it;
    - :class:`CommunicationError`: no answer came.  If the connection broke after the request
      had gone out, the call may have become a job all the same.  So it may if the wait for it
      is cancelled.
    """


class RemoteServer(Host[RemoteProcedure]):
    """A host: its attributes are its procedures.

    A name that isn't an attribute's goes in brackets: ``host["some.procedure"]("nginx")``.
    """


class HarpCaller(Caller[RemoteServer]):
    """A dispatcher.

    ``rpc.host("web01")``, ``rpc("web01")`` and ``rpc.web01`` all give the host of that name;
    awaiting the call of a procedure on it gives a :class:`RemoteCall`.

    One object serves all tasks of a program.  Connections are kept for later requests;
    ``async with`` closes them at its end, and without it they want their loop's end.

    Args:
        host: The dispatcher's name or address, IPv4 or IPv6.
        port: Its TCP port.
        connect_timeout: Seconds that each of its addresses is tried, or None for as long as
            the system does.
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
            return await _open_channel(host, port, connect_timeout, read_timeout, tls)

        connections = Connections(open_channel, token)
        self._connections = connections

        def server(host: str, options: CallOptions) -> RemoteServer:
            return RemoteServer(procedure, host, options)

        def procedure(host: str, options: CallOptions, name: str) -> RemoteProcedure:
            def call(
                args: tuple[Any, ...], kwargs: dict[str, Any]
            ) -> Coroutine[Any, Any, RemoteCall]:
                return jobs.submit(connections, host, name, options, args, kwargs)

            return RemoteProcedure(call, f"{host}:{name}")

        super().__init__(server, shown_address(host, port))

    def job(self, job_id: str) -> RemoteCall:
        """Give the job that was submitted under this id, by this program or another."""
        return RemoteCall(self._connections, str(job_id))

    async def __aenter__(self) -> HarpCaller:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connections.close()
        # The loop closes sockets on its next turn.
        await asyncio.sleep(0)


class HarpStreamIterator(ValueStream):
    """What a streaming procedure says; the last item is a :class:`Result`.

    Errors, the procedure's own exception among them, are raised from it.  Closing it before the
    end cancels the call; so does the end of an ``async with`` block, and of the iterator's life.
    """


class HarpProcedure(Procedure[Coroutine[Any, Any, Any]]):
    """A procedure of an agent; ``await`` its call for its end, or for its stream."""


class HarpServer(Procedures[HarpProcedure]):
    """An agent: its attributes are its procedures, and awaiting a call waits for its end.

    A call gives, and raises, what one of :class:`harp.HarpServer` does; the stream of a procedure
    that streams is an async iterator.  The arguments are the same.
    """

    def __init__(
        self,
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

        async def connect() -> PushedChannel:
            return await _open_channel(host, port, connect_timeout, read_timeout, tls)

        agent = Agent(address, Credentials(user, password), connect)

        def procedure(name: str) -> HarpProcedure:
            async def call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                given = await agent.call(name, args, kwargs)
                return HarpStreamIterator(given) if isinstance(given, AgentItems) else given

            return HarpProcedure(call, f"{address}:{name}")

        super().__init__(procedure, address)


# --- Connections ---------------------------------------------------------------------------------


class _Line(asyncio.Protocol):
    """A connection of the running loop."""

    def __init__(self, address: str, read_timeout: float | None) -> None:
        self.channel = PushedChannel(self, address, read_timeout)
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[bool] | None = None

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # Who sends waits until all is sent, and so learns of a peer that takes nothing.
        # With a high of 0 asyncio's TLS would say that it is full when it is empty.
        self._transport.set_write_buffer_limits(high=1, low=0)
        attend(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        self.channel.arrived(data)

    def eof_received(self) -> None:
        self.channel.ended()

    def connection_lost(self, exc: Exception | None) -> None:
        self.channel.ended("" if exc is None else _reason(exc))

    def pause_writing(self) -> None:
        self.channel.filled()

    def resume_writing(self) -> None:
        self.channel.drained()

    # What the channel asks for.

    def here(self) -> bool:
        return self._is_running() and os.getpid() == self._process

    def _is_running(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def hold(self, held: bool) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            if held:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def fileno(self) -> int:
        assert self._transport is not None
        return int(self._transport.get_extra_info("socket").fileno())

    def abort(self) -> None:
        assert self._transport is not None
        if self._is_running():
            self._transport.abort()
            return
        # A loop that is closed has closed, or forgotten, what it had.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._transport.abort)

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(True)

    def _time_out(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(False)

    async def wait(self, seconds: float | None) -> bool:
        if self._waiter is not None:
            raise RuntimeError("another task waits on this connection")
        self._waiter = self._loop.create_future()
        timer = None if seconds is None else self._loop.call_later(seconds, self._time_out)
        try:
            return await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()


async def _open_channel(
    host: str,
    port: int,
    connect_timeout: float | None,
    read_timeout: float | None,
    tls: ssl.SSLContext | None = None,
) -> PushedChannel:
    """Connect to the first of the host's addresses that answers, each of them within the time.

    Raises:
        CommunicationError: There is no connection.
    """
    address = shown_address(host, port)
    loop = asyncio.get_running_loop()
    try:
        connected = await _connected(host, port, connect_timeout)
        making = loop.create_connection(
            lambda: _Line(address, read_timeout),
            sock=connected,
            ssl=tls,
            server_hostname=None if tls is None else host,
        )

        def let_go(made: asyncio.Future[tuple[asyncio.Transport, _Line]]) -> None:
            if made.cancelled() or made.exception() is not None:
                connected.close()
            else:
                made.result()[0].abort()

        _, line = await _within(connect_timeout, making, let_go)
    except _TookTooLong:
        within = f"no connection within {connect_timeout} s"
        raise CommunicationError(f"{address}: {within}") from None
    except (OSError, ValueError, OverflowError) as error:
        # A name that is no name is a ValueError, a port that is no port an OverflowError.
        raise CommunicationError(f"{address}: {_reason(error)}") from None
    return line.channel


async def _connected(host: str, port: int, seconds: float | None) -> socket.socket:
    """Connect to the first of the host's addresses that answers; raise the last one's error."""
    loop = asyncio.get_running_loop()
    failure: Exception = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        unconnected = socket.socket(family, kind, protocol)
        try:
            unconnected.setblocking(False)
            await _within(
                seconds,
                loop.sock_connect(unconnected, address),
                _closer(unconnected),
            )
            return unconnected
        except (OSError, _TookTooLong) as error:
            failure = error
    raise failure


def _closer(unwanted: socket.socket) -> Callable[[object], None]:
    return lambda _: unwanted.close()


class _TookTooLong(Exception):
    """The time has run out."""


async def _within(
    seconds: float | None,
    work: Coroutine[Any, Any, _Given],
    let_go: Callable[[asyncio.Future[_Given]], object],
) -> _Given:
    """Await something, but not for longer than this.

    Unlike ``wait_for``, which on older Pythons can lose what came in the moment of a cancel.

    Args:
        let_go: Gets the work, when it is done, if nobody wants its result any more.
    """
    working = asyncio.ensure_future(work)
    try:
        await asyncio.wait({working}, timeout=seconds)
        if not working.done():
            raise _TookTooLong
        return working.result()
    except BaseException:
        working.cancel()
        working.add_done_callback(let_go)
        raise


def _reason(error: Exception) -> str:
    """Say why an operation failed, in the system's words, as the blocking face does."""
    if isinstance(error, ssl.SSLError):
        return f"TLS: {why(error)}"
    number = getattr(error, "errno", None)
    return os.strerror(number) if isinstance(number, int) and number > 0 else why(error)
