"""What each request does: one function per request.

Most answers are a line.  Those about a stream are pieces of bytes; a piece is asked for only when
the client has room for it, so a stream is read from the store no faster than the client takes it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import assert_never

from harpcaller.interfaces import IDispatcher, Page, Requester
from harpcaller.listener.gate import Access, admit
from harpcaller.listener.rules import Rights
from harpcaller.logs.events import EventLog
from harpcaller.wire.client import (
    Call,
    Cancel,
    FollowStream,
    GetResult,
    GetStatus,
    ReadStream,
    Request,
)
from harpcaller.wire.client_answers import (
    CONTINUE,
    NO_RESULT,
    encode_cancelled,
    encode_ending,
    encode_record,
    encode_submitted,
)
from harpcaller.wire.ending import Failed
from harpcaller.wire.registry import (
    ListHosts,
    ListProceduresOf,
    encode_hosts,
    encode_procedures,
)

_log = EventLog("listener")


async def answer(
    dispatcher: IDispatcher, access: Access, request: Request, client: Requester
) -> bytes | AsyncIterator[bytes]:
    """Answer a request, if the client may ask it, with a line or with pieces of a stream.

    Raises (also while it is iterated):
        WireError: The request can't be done; this is the answer then.
    """
    rights = await admit(dispatcher, access, request, client)
    match request:
        case Call():
            return await submit(dispatcher, request, client)
        case GetResult():
            return await get_result(dispatcher, request)
        case GetStatus():
            return await get_status(dispatcher, request)
        case Cancel():
            return await cancel(dispatcher, request, client)
        case FollowStream():
            return follow_stream(dispatcher, request)
        case ReadStream():
            return read_stream(dispatcher, request)
        case ListHosts():
            return await list_hosts(dispatcher, rights)
        case ListProceduresOf():
            return await list_procedures(dispatcher, request)
        case _:
            assert_never(request)


async def submit(dispatcher: IDispatcher, call: Call, client: Requester) -> bytes:
    """Make a job of the call."""
    return encode_submitted(await dispatcher.submit(call, client))


async def get_result(dispatcher: IDispatcher, request: GetResult) -> bytes:
    """Tell how the job ended."""
    ending = await dispatcher.ending(request.job_id, request.wait)
    return NO_RESULT if ending is None else encode_ending(ending)


async def get_status(dispatcher: IDispatcher, request: GetStatus) -> bytes:
    """Tell what the job is and how far it came."""
    return (await dispatcher.status(request.job_id)).answer


async def cancel(dispatcher: IDispatcher, request: Cancel, client: Requester) -> bytes:
    """End the job."""
    cancelled = await dispatcher.cancel(request.job_id)
    if cancelled:
        _log.info("job.cancelled", job=request.job_id, client=client.name, peer=client.peer)
    return encode_cancelled(cancelled)


async def follow_stream(dispatcher: IDispatcher, request: FollowStream) -> AsyncIterator[bytes]:
    """Send records until the end; from now on, unless the request says from where."""
    since = request.since
    if since is None:
        since = await dispatcher.position(request.job_id, request.recent or 0)
    follower = dispatcher.follow(request.job_id, since)
    while True:
        page = await follower.next_page()
        yield _encode_page(page)
        if page.ending is not None:
            return


async def read_stream(dispatcher: IDispatcher, request: ReadStream) -> AsyncIterator[bytes]:
    """Send the records that there are; all, unless the request says from where."""
    # Those that come while these are being read are for another time: a job may well speak
    # faster than its reader reads.
    until = await dispatcher.position(request.job_id, 0)
    since = request.since or 0
    if request.recent is not None:
        since = max(0, until - request.recent)
    while True:
        page = await dispatcher.read(request.job_id, since)
        if page.records or page.ending is not None:
            yield _encode_page(page)
        if page.ending is not None:
            return
        since += len(page.records)
        if since >= until or not page.records:
            yield CONTINUE
            return


async def list_hosts(dispatcher: IDispatcher, rights: Rights) -> bytes:
    """Tell which hosts there are, of those that the client may see."""
    return encode_hosts([host for host in await dispatcher.hosts() if rights.cover(host)])


async def list_procedures(dispatcher: IDispatcher, request: ListProceduresOf) -> bytes:
    """Tell what a host's agent says that it has."""
    told = await dispatcher.procedures(request.host)
    return encode_ending(told) if isinstance(told, Failed) else encode_procedures(told)


def _encode_page(page: Page) -> bytes:
    lines = [encode_record(record) for record in page.records]
    if page.ending is not None:
        lines.append(encode_ending(page.ending))
    return b"".join(lines)
