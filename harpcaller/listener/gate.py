"""Who asks, and whether they may: decided for each request before anything is done."""

from __future__ import annotations

from typing import assert_never

import attrs

from harpcaller.config.tokens import Tokens
from harpcaller.errors import InvalidJobId, NotAllowed
from harpcaller.interfaces import IDispatcher, Requester
from harpcaller.listener.rules import Rights, Rules
from harpcaller.wire.client import (
    Call,
    Cancel,
    FollowStream,
    GetResult,
    GetStatus,
    ReadStream,
    Request,
    operation_of,
)
from harpcaller.wire.registry import ListHosts, ListProceduresOf


@attrs.frozen
class Access:
    """Who is known, and what they may do."""

    tokens: Tokens = attrs.Factory(Tokens)
    rules: Rules = attrs.Factory(Rules)


def identified(access: Access, client: Requester, token: str | None) -> Requester:
    """Tell who asks, by the request's token if it has one, else by the connection.

    Raises:
        NotAllowed: Nobody has this token.
    """
    if token is None:
        return client
    name = access.tokens.owner(token)
    if name is None:
        raise NotAllowed("auth.token: not known here")
    return Requester(client.peer, name)


async def admit(
    dispatcher: IDispatcher, access: Access, request: Request, client: Requester
) -> Rights:
    """Let a request through, and give what the client may do by its operation.

    A job's host and procedure are looked up only where they matter.

    Raises:
        NotAllowed: The client may not do this.
        StorageError: The job that it is about can't be read.
    """
    operation = operation_of(request)
    rights = access.rules.rights(client.name, operation)
    if rights.none:
        raise _denied(client, operation)
    if rights.everywhere or isinstance(request, ListHosts):
        return rights
    match request:
        case Call():
            covered = rights.cover(request.host, request.procedure)
            what = f"{operation} {request.procedure} on {request.host}"
        case ListProceduresOf():
            covered = rights.cover(request.host)
            what = f"{operation} of {request.host}"
        case GetResult() | GetStatus() | Cancel() | FollowStream() | ReadStream():
            try:
                status = await dispatcher.status(request.job_id)
            except InvalidJobId:
                # That there's no such job is the operation's to tell.
                return rights
            # A client that isn't known is anybody, who has submitted nothing.
            own = status.client is not None and status.client == client.name
            covered = rights.cover(status.host, status.procedure, own=own)
            # Who may not read of a job isn't told what it is.
            what = f"{operation} of the job {request.job_id}"
        case _:
            assert_never(request)
    if not covered:
        raise _denied(client, what)
    return rights


def subject_of(request: Request) -> dict[str, str]:
    """Tell what a request is about, for the log: never its arguments."""
    subject = {"operation": operation_of(request)}
    match request:
        case Call():
            subject |= {"host": request.host, "procedure": request.procedure}
        case ListProceduresOf():
            subject |= {"host": request.host}
        case GetResult() | GetStatus() | Cancel() | FollowStream() | ReadStream():
            subject |= {"job": request.job_id}
        case ListHosts():
            pass
        case _:
            assert_never(request)
    return subject


def _denied(client: Requester, what: str) -> NotAllowed:
    who = "a client that isn't known" if client.name is None else client.name
    return NotAllowed(f"{who} may not {what}")
