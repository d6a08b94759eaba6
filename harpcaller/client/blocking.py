"""The library's blocking face: a call, its job, and what became of it.

Attribute names that users write are procedures and hosts, so the classes here keep their own
names few: ``host`` and ``job`` on :class:`HarpCaller`, none on :class:`RemoteServer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Iterator

from harpcaller.client.channel import shown_address
from harpcaller.client.dispatcher import Asked, Dispatcher
from harpcaller.client.translation import (
    CallOptions,
    call_request,
    checked,
    outcome,
    python_value,
    raw_arguments,
    refusal,
    refused,
    result_or_raise,
)
from harpcaller.wire.client import (
    DEFAULT_PORT,
    Cancel,
    CancelOutcome,
    FollowStream,
    GetResult,
    GetStatus,
    JobId,
    JobStatus,
    ReadStream,
    Record,
    Submitted,
)


class HarpCaller:
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
    """

    def __init__(
        self,
        host: str,
        port: int = DEFAULT_PORT,
        connect_timeout: float | None = 10.0,
        read_timeout: float | None = None,
    ) -> None:
        self._dispatcher = Dispatcher(host, port, connect_timeout, read_timeout)

    def host(
        self,
        host: str,
        queue: Mapping[str, Any] | None = None,
        concurrency: int | None = None,
        timeout: float | None = None,
        max_exec_time: float | None = None,
        info: Any = None,
    ) -> RemoteServer:
        """Give a host, and say how its procedures are to be called.

        Args:
            host: Its name in the dispatcher's registry.
            queue: The name of the queue to wait in, any JSON object; None to run at once.
            concurrency: How many of the queue's jobs may run at once, if this call creates it.
            timeout: The longest silence of the procedure, in seconds.
            max_exec_time: The longest run of the procedure, in seconds.
            info: Any JSON value, to be given back by :meth:`RemoteCall.info`.
        """
        options = CallOptions(queue, concurrency, timeout, max_exec_time, info)
        return RemoteServer(self._dispatcher, host, options)

    __call__ = host

    def __getattr__(self, name: str) -> RemoteServer:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.host(name)

    def job(self, job_id: str) -> RemoteCall:
        """Give the job that was submitted under this id, by this program or another."""
        return RemoteCall(self._dispatcher, str(job_id))

    def __enter__(self) -> HarpCaller:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._dispatcher.close()

    def __repr__(self) -> str:
        return f"<harp.HarpCaller {shown_address(self._dispatcher.host, self._dispatcher.port)}>"


class RemoteServer:
    """A host: its attributes are its procedures.

    A name that isn't an attribute's goes in brackets: ``host["some.procedure"]("nginx")``.
    """

    def __init__(self, dispatcher: Dispatcher, host: str, options: CallOptions) -> None:
        self._dispatcher = dispatcher
        self._host = host
        self._options = options

    def __call__(
        self,
        queue: Mapping[str, Any] | None = None,
        concurrency: int | None = None,
        timeout: float | None = None,
        max_exec_time: float | None = None,
        info: Any = None,
    ) -> RemoteServer:
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
        return RemoteServer(self._dispatcher, self._host, replace(self._options, **changes))

    def __getattr__(self, name: str) -> RemoteProcedure:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> RemoteProcedure:
        return RemoteProcedure(self._dispatcher, self._host, name, self._options)

    def __repr__(self) -> str:
        return f"<harp.RemoteServer {self._host}>"


class RemoteProcedure:
    """A procedure on a host; calling it submits the call and doesn't wait for its end."""

    def __init__(self, dispatcher: Dispatcher, host: str, name: str, options: CallOptions) -> None:
        self._dispatcher = dispatcher
        self._host = host
        self._name = name
        self._options = options

    def __call__(self, *args: Any, **kwargs: Any) -> RemoteCall:
        """Submit a call, with either positional or named arguments.

        Returns:
            The job; it is on the dispatcher's disk by now.

        Raises:
            HarpException: The call can't be written as a request.
            RemoteError: The dispatcher doesn't take it.
            CommunicationError: No answer came.  If the connection broke after the request had
                gone out, the call may have become a job all the same.
        """
        arguments = raw_arguments(args, kwargs)
        request = call_request(self._host, self._name, arguments, self._options)
        answer = self._dispatcher.ask(request)
        if isinstance(answer, Submitted):
            return RemoteCall(self._dispatcher, answer.job_id)
        raise refusal(answer)

    def __repr__(self) -> str:
        return f"<harp.RemoteProcedure {self._host}:{self._name}>"


class RecordIterator:
    """The records of a job's stream, one by one.

    It holds a connection until its end; left earlier it wants :meth:`close`, which ``with``
    and the end of its life do by themselves.
    """

    def __init__(self, asked: Asked, numbered: bool) -> None:
        self._asked = asked
        self._numbered = numbered

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """Wait for the next record.

        Returns:
            The record, or ``(number, record)`` of a numbered stream.

        Raises:
            RemoteError: There is no such job.  How a job ended is never raised here.
            CommunicationError: The connection broke.
        """
        answer = self._asked.next_answer()
        if isinstance(answer, Record):
            value = python_value(answer.data)
            return (answer.number, value) if self._numbered else value
        if answer is not None and refused(answer):
            raise refusal(answer)
        raise StopIteration

    def all(self) -> list[Any]:
        """Wait for all records that are still to come."""
        with self:
            return list(self)

    def close(self) -> None:
        """Want no more records; the job isn't touched."""
        self._asked.close()

    def __enter__(self) -> RecordIterator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class RemoteCall:
    """A job: one call of one procedure on one host, from its submission on.

    Methods that ask the dispatcher raise :class:`CommunicationError` when it can't be asked, and
    :class:`RemoteError` of type ``invalid_jobid`` when it doesn't know the job.
    """

    StreamIterator = RecordIterator

    def __init__(self, dispatcher: Dispatcher, job_id: str) -> None:
        self._dispatcher = dispatcher
        self._id = JobId(job_id)
        self._status: JobStatus | None = None

    def id(self) -> str:
        """Give the job's name, to be kept and handed to :meth:`HarpCaller.job` later."""
        return self._id

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
        return result_or_raise(self._dispatcher.ask(GetResult(self._id, wait)))

    def result(self, wait: bool = False) -> Any:
        """Give how the job ended, without raising what :meth:`get` raises for that.

        Returns:
            The result, or a :class:`RemoteException` or :class:`RemoteError`, or
            :data:`CALL_CANCELLED`, or (if not to wait) :data:`CALL_NOT_FINISHED`.
        """
        return outcome(self._dispatcher.ask(GetResult(self._id, wait)))

    def cancel(self) -> bool:
        """End the job.

        Returns:
            Whether this ended it; False if it had ended already, or there's no such job.
        """
        answer = self._dispatcher.ask(Cancel(self._id))
        if isinstance(answer, CancelOutcome):
            return answer.cancelled
        raise refusal(answer)

    def follow(
        self, since: int | None = None, recent: int | None = None, numbered: bool = False
    ) -> RecordIterator:
        """Give the stream's records until the job ends, from now on.

        Args:
            since: Begin with the record of this number, from 0.
            recent: Begin with that many of the last records.
            numbered: Give pairs, ``(number, record)``.
        """
        request = checked(FollowStream(self._id, since, recent))
        return RecordIterator(self._dispatcher.begin(request, fresh=True), numbered)

    def stream(
        self, since: int | None = None, recent: int | None = None, numbered: bool = False
    ) -> RecordIterator:
        """Give the stream's records that there are now.

        Args:
            since: Begin with the record of this number, from 0; all of them unless told.
            recent: Give only that many of the last records.
            numbered: Give pairs, ``(number, record)``.
        """
        request = checked(ReadStream(self._id, since, recent))
        return RecordIterator(self._dispatcher.begin(request), numbered)

    def host(self) -> str:
        """Give the name of the host that was called."""
        return self._known().host

    def procedure(self) -> str:
        """Give the name of the procedure that was called."""
        return self._known().procedure

    def args(self) -> Any:
        """Give the arguments: a list, or a dictionary if they were named."""
        return python_value(self._known().arguments)

    def info(self) -> Any:
        """Give what the caller had attached to the call, or None."""
        return python_value(self._known().info)

    def submit_time(self) -> int:
        """Give when the job was submitted, in Unix seconds."""
        return int(self._known().submitted_at)

    def start_time(self) -> int | None:
        """Give when the job started, in Unix seconds, or None if it didn't."""
        status = self._known()
        if status.started_at is None and status.ended_at is None:
            status = self._ask_status()
        return None if status.started_at is None else int(status.started_at)

    def end_time(self) -> int | None:
        """Give when the job ended, in Unix seconds, or None if it didn't."""
        status = self._known()
        if status.ended_at is None:
            status = self._ask_status()
        return None if status.ended_at is None else int(status.ended_at)

    def _known(self) -> JobStatus:
        """Give the last status that was heard; most of it never changes."""
        return self._status or self._ask_status()

    def _ask_status(self) -> JobStatus:
        answer = self._dispatcher.ask(GetStatus(self._id))
        if not isinstance(answer, JobStatus):
            raise refusal(answer)
        self._status = answer
        return answer

    def __repr__(self) -> str:
        return f"<harp.RemoteCall {self._id}>"
