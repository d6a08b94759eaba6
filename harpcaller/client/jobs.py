"""Calls and their jobs, as coroutines: the face of asyncio, and what drives the others' faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harpcaller.client.asking import Connections
from harpcaller.client.streams import JobRecords, ValueStream
from harpcaller.client.translation import (
    CallOptions,
    call_request,
    checked,
    outcome,
    python_value,
    raw_arguments,
    refusal,
    result_or_raise,
)
from harpcaller.wire.client import Cancel, FollowStream, GetResult, GetStatus, JobId, ReadStream
from harpcaller.wire.client_answers import CancelOutcome, JobStatus, Submitted


class RecordIterator(ValueStream):
    """The records of a job's stream, one by one.

    It holds a connection until its end; left earlier it wants ``close``, which ``async with``
    and the end of its life do by themselves.  What may be raised is

    - :class:`RemoteError`: there is no such job; how a job ended is never raised here;
    - :class:`CommunicationError`: the connection broke.
    """


class RemoteCall:
    """A job: one call of one procedure on one host, from its submission on.

    Methods that ask the dispatcher raise :class:`CommunicationError` when it can't be asked, and
    :class:`RemoteError` of type ``invalid_jobid`` when it doesn't know the job.
    """

    StreamIterator = RecordIterator

    def __init__(self, connections: Connections, job_id: str) -> None:
        self._connections = connections
        self._id = JobId(job_id)
        self._status: JobStatus | None = None

    def id(self) -> str:
        """Give the job's name, to be kept and handed to ``HarpCaller.job`` later."""
        return self._id

    async def get(self, wait: bool = True) -> Any:
        """Give the result.

        Args:
            wait: Wait for the job's end.  Otherwise the result of a job that hasn't ended is
                ``CALL_NOT_FINISHED``.

        Raises:
            RemoteException: The procedure raised.
            RemoteError: Something else kept the result from being had.
            CancelledException: The job was cancelled.
        """
        return result_or_raise(await self._connections.ask(GetResult(self._id, wait)))

    async def result(self, wait: bool = False) -> Any:
        """Give how the job ended, without raising what :meth:`get` raises for that.

        Returns:
            The result, or a :class:`RemoteException` or :class:`RemoteError`, or
            ``CALL_CANCELLED``, or (if not to wait) ``CALL_NOT_FINISHED``.
        """
        return outcome(await self._connections.ask(GetResult(self._id, wait)))

    async def cancel(self) -> bool:
        """End the job.

        Returns:
            Whether this ended it; False if it had ended already, or there's no such job.
        """
        answer = await self._connections.ask(Cancel(self._id))
        if isinstance(answer, CancelOutcome):
            return answer.cancelled
        raise refusal(answer)

    def follow(
        self, since: int | None = None, recent: int | None = None, numbered: bool = False
    ) -> RecordIterator:
        """Give the stream's records until the job ends, from when they are first waited for.

        Args:
            since: Begin with the record of this number, from 0.
            recent: Begin with that many of the last records.
            numbered: Give pairs, ``(number, record)``.
        """
        request = checked(FollowStream(self._id, since, recent))
        return RecordIterator(JobRecords(self._connections, request, numbered))

    def stream(
        self, since: int | None = None, recent: int | None = None, numbered: bool = False
    ) -> RecordIterator:
        """Give the stream's records that there are when they are first waited for.

        Args:
            since: Begin with the record of this number, from 0; all of them unless told.
            recent: Give only that many of the last records.
            numbered: Give pairs, ``(number, record)``.
        """
        request = checked(ReadStream(self._id, since, recent))
        return RecordIterator(JobRecords(self._connections, request, numbered))

    async def host(self) -> str:
        """Give the name of the host that was called."""
        return (await self._known()).host

    async def procedure(self) -> str:
        """Give the name of the procedure that was called."""
        return (await self._known()).procedure

    async def args(self) -> Any:
        """Give the arguments: a list, or a dictionary if they were named."""
        return python_value((await self._known()).arguments)

    async def info(self) -> Any:
        """Give what the caller had attached to the call, or None."""
        return python_value((await self._known()).info)

    async def submit_time(self) -> int:
        """Give when the job was submitted, in Unix seconds."""
        return int((await self._known()).submitted_at)

    async def start_time(self) -> int | None:
        """Give when the job started, in Unix seconds, or None if it didn't."""
        status = await self._known()
        if status.started_at is None and status.ended_at is None:
            status = await self._ask_status()
        return None if status.started_at is None else int(status.started_at)

    async def end_time(self) -> int | None:
        """Give when the job ended, in Unix seconds, or None if it didn't."""
        status = await self._known()
        if status.ended_at is None:
            status = await self._ask_status()
        return None if status.ended_at is None else int(status.ended_at)

    async def _known(self) -> JobStatus:
        """Give the last status that was heard; most of it never changes."""
        return self._status or await self._ask_status()

    async def _ask_status(self) -> JobStatus:
        answer = await self._connections.ask(GetStatus(self._id))
        if not isinstance(answer, JobStatus):
            raise refusal(answer)
        self._status = answer
        return answer

    def __repr__(self) -> str:
        return f"<harp.RemoteCall {self._id}>"


async def submit(
    connections: Connections,
    host: str,
    procedure: str,
    options: CallOptions,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> RemoteCall:
    """Submit a call, with either positional or named arguments.

    Returns:
        The job; it is on the dispatcher's disk by now.

    Raises:
        HarpException: The call can't be written as a request.
        RemoteError: The dispatcher doesn't take it.
        CommunicationError: No answer came.  If the connection broke after the request had
            gone out, the call may have become a job all the same.
    """
    request = call_request(host, procedure, raw_arguments(args, kwargs), options)
    answer = await connections.ask(request)
    if isinstance(answer, Submitted):
        return RemoteCall(connections, answer.job_id)
    raise refusal(answer)
