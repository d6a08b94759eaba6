"""The library's blocking face: a call, its job, and what became of it."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Iterator, TypeVar

from harpcaller.client import jobs
from harpcaller.client.asking import finished
from harpcaller.client.channel import shown_address
from harpcaller.client.dispatcher import blocking_connections
from harpcaller.client.hosts import Caller, Host, Procedure
from harpcaller.client.streams import ValueStream
from harpcaller.client.tls import ClientCertificate, dispatcher_context
from harpcaller.client.translation import CallOptions
from harpcaller.wire.client import DEFAULT_PORT

_Self = TypeVar("_Self", bound="ValueIterator")


class ValueIterator:
    """A stream's items, one by one.

    It holds a connection until its end; left earlier it wants :meth:`close`, which ``with``
    and the end of its life do by themselves.
    """

    def __init__(self, stream: ValueStream) -> None:
        self._stream = stream
        finished(stream.start())

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """Wait for the next item."""
        try:
            return finished(self._stream.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def all(self) -> list[Any]:
        """Wait for all items that are still to come."""
        return finished(self._stream.all())

    def close(self) -> None:
        """Want no more items."""
        self._stream.close()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class RecordIterator(ValueIterator):
    """The records of a job's stream, one by one; ``(number, record)`` of a numbered one.

    It holds a connection until its end; left earlier it wants ``close``, which ``with``
    and the end of its life do by themselves.  The job isn't touched.  What may be raised is

    - :class:`RemoteError`: there is no such job; how a job ended is never raised here;
    - :class:`CommunicationError`: the connection broke.
    """


class RemoteCall:
    """A job: one call of one procedure on one host, from its submission on.

    Methods that ask the dispatcher raise :class:`CommunicationError` when it can't be asked, and
    :class:`RemoteError` of type ``invalid_jobid`` when it doesn't know the job.
    """

    StreamIterator = RecordIterator

    def __init__(self, job: jobs.RemoteCall) -> None:
        self._job = job

    def id(self) -> str:
        """Give the job's name, to be kept and handed to :meth:`HarpCaller.job` later."""
        return self._job.id()

    def get(self, wait: bool = True) -> Any:
        """Give the result.

        Args:
            wait: Wait for the job's end.  Otherwise the result of a job that hasn't ended is
                :data:`CALL_NOT_FINISHED`.

        Raises:
            RemoteException: The procedure raised.
            RemoteError: Something else kept the result from being had.
            CancelledException: The job was cancelled.
        """
        return finished(self._job.get(wait))

    def result(self, wait: bool = False) -> Any:
        """Give how the job ended, without raising what :meth:`get` raises for that.

        Returns:
            The result, or a :class:`RemoteException` or :class:`RemoteError`, or
            :data:`CALL_CANCELLED`, or (if not to wait) :data:`CALL_NOT_FINISHED`.
        """
        return finished(self._job.result(wait))

    def cancel(self) -> bool:
        """End the job.

        Returns:
            Whether this ended it; False if it had ended already, or there's no such job.
        """
        return finished(self._job.cancel())

    def follow(
        self, since: int | None = None, recent: int | None = None, numbered: bool = False
    ) -> RecordIterator:
        """Give the stream's records until the job ends, from now on.

        Args:
            since: Begin with the record of this number, from 0.
            recent: Begin with that many of the last records.
            numbered: Give pairs, ``(number, record)``.
        """
        return RecordIterator(self._job.follow(since, recent, numbered))

    def stream(
        self, since: int | None = None, recent: int | None = None, numbered: bool = False
    ) -> RecordIterator:
        """Give the stream's records that there are now.

        Args:
            since: Begin with the record of this number, from 0; all of them unless told.
            recent: Give only that many of the last records.
            numbered: Give pairs, ``(number, record)``.
        """
        return RecordIterator(self._job.stream(since, recent, numbered))

    def host(self) -> str:
        """Give the name of the host that was called."""
        return finished(self._job.host())

    def procedure(self) -> str:
        """Give the name of the procedure that was called."""
        return finished(self._job.procedure())

    def args(self) -> Any:
        """Give the arguments: a list, or a dictionary if they were named."""
        return finished(self._job.args())

    def info(self) -> Any:
        """Give what the caller had attached to the call, or None."""
        return finished(self._job.info())

    def submit_time(self) -> int:
        """Give when the job was submitted, in Unix seconds."""
        return finished(self._job.submit_time())

    def start_time(self) -> int | None:
        """Give when the job started, in Unix seconds, or None if it didn't."""
        return finished(self._job.start_time())

    def end_time(self) -> int | None:
        """Give when the job ended, in Unix seconds, or None if it didn't."""
        return finished(self._job.end_time())

    def __repr__(self) -> str:
        return repr(self._job)


class RemoteProcedure(Procedure[RemoteCall]):
    """A procedure on a host; calling it submits the call and doesn't wait for its end.

    The job that it gives is on the dispatcher's disk by then.  What may be raised is

    - :class:`HarpException`: the call can't be written as a request;
    - :class:`RemoteError`: the dispatcher doesn't take it;
    - :class:`CommunicationError`: no answer came.  If the connection broke after the request
      had gone out, the call may have become a job all the same.
    """


class RemoteServer(Host[RemoteProcedure]):
    """A host: its attributes are its procedures.

    A name that isn't an attribute's goes in brackets: ``host["some.procedure"]("nginx")``.
    """


class HarpCaller(Caller[RemoteServer]):
    """A dispatcher.

    ``rpc.host("web01")``, ``rpc("web01")`` and ``rpc.web01`` all give the host of that name;
    calling a procedure on it gives a :class:`RemoteCall`::

        rpc = harp.HarpCaller("dispatcher.example.net")
        job = rpc.web01.restart_nginx()
        print(job.get())

    One object serves all threads of a program, and its children after a fork. Connections are
    kept for later requests; ``with`` closes them at its end.

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
        connections = blocking_connections(host, port, connect_timeout, read_timeout, tls, token)
        self._connections = connections

        def server(host: str, options: CallOptions) -> RemoteServer:
            return RemoteServer(procedure, host, options)

        def procedure(host: str, options: CallOptions, name: str) -> RemoteProcedure:
            def call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> RemoteCall:
                work = jobs.submit(connections, host, name, options, args, kwargs)
                return RemoteCall(finished(work))

            return RemoteProcedure(call, f"{host}:{name}")

        super().__init__(server, shown_address(host, port))

    def job(self, job_id: str) -> RemoteCall:
        """Give the job that was submitted under this id, by this program or another."""
        return RemoteCall(jobs.RemoteCall(self._connections, str(job_id)))

    def __enter__(self) -> HarpCaller:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connections.close()
