"""Python's values to requests, and answers to Python's values; for every face of the library.

What a program may get wrong is checked with the dispatcher's own reader, so that a mistake is
told before anything is sent, in the words in which the dispatcher would tell it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from harpcaller.client.exceptions import (
    CALL_CANCELLED,
    CALL_NOT_FINISHED,
    CancelledException,
    CommunicationError,
    HarpException,
    RemoteError,
    RemoteException,
)
from harpcaller.errors import InvalidJobId, InvalidRequest, RequestTooLarge
from harpcaller.wire.client import (
    Call,
    FollowStream,
    QueueSpec,
    ReadStream,
    decode_request,
    encode_request,
)
from harpcaller.wire.client_answers import Answer, NotEnded
from harpcaller.wire.ending import Cancelled, Failed, Raised, Returned
from harpcaller.wire.values import NULL, NotJSON, Raw, decode, encode

_Request = TypeVar("_Request", Call, FollowStream, ReadStream)

#: Errors that tell of the question and never of how a job ended.
_NEVER_AN_ENDING = frozenset(
    error.wire_type for error in (InvalidJobId, InvalidRequest, RequestTooLarge)
)


@dataclass(frozen=True)
class CallOptions:
    """How a host's procedures are called; see :meth:`harp.HarpCaller.host`."""

    queue: Mapping[str, Any] | None = None
    concurrency: int | None = None
    timeout: float | None = None
    max_exec_time: float | None = None
    info: Any = None


def raw_value(value: object, what: str) -> Raw:
    """Write a Python value as JSON.

    Raises:
        HarpException: It has no JSON form.
    """
    try:
        return encode(value)
    except NotJSON as error:
        raise HarpException(f"{what}: cannot be written as JSON: {error}") from None


def python_value(raw: Raw) -> Any:
    """Read a JSON value that came over the wire.

    Raises:
        CommunicationError: It can't be had as a Python value (a key stands twice, say).
    """
    try:
        return decode(raw)
    except NotJSON as error:
        raise CommunicationError(f"a value came that cannot be read: {error}") from None


def raw_arguments(positional: Sequence[Any], named: Mapping[str, Any]) -> Raw:
    """Write a call's arguments.

    Raises:
        HarpException: There are positional and named ones, or they have no JSON form.
    """
    if positional and named:
        raise HarpException("arguments are either all positional or all named, not both")
    return raw_value(dict(named) if named else list(positional), "arguments")


def call_request(host: str, procedure: str, arguments: Raw, options: CallOptions) -> Call:
    """Make the request that submits a call.

    Raises:
        HarpException: An option isn't what it must be; the message names it.
    """
    queue = None
    if options.queue is not None:
        concurrency = 1 if options.concurrency is None else options.concurrency
        queue = QueueSpec(raw_value(options.queue, "queue"), concurrency)
    call = Call(
        host=host,
        procedure=procedure,
        arguments=arguments,
        timeout=options.timeout,
        max_exec_time=options.max_exec_time,
        queue=queue,
        info=NULL if options.info is None else raw_value(options.info, "info"),
    )
    return checked(call)


def checked(request: _Request) -> _Request:
    """Check a request as the dispatcher will, and give it back.

    Raises:
        HarpException: The dispatcher would refuse it.
    """
    try:
        decode_request(encode_request(request))
    except (InvalidRequest, NotJSON) as error:
        raise HarpException(str(error)) from None
    return request


def outcome(answer: Answer) -> Any:
    """Give the answer to a GetResult as a value: a result, an exception object, or a mark."""
    if isinstance(answer, Returned):
        return python_value(answer.value)
    if isinstance(answer, NotEnded):
        return CALL_NOT_FINISHED
    if isinstance(answer, Cancelled):
        return CALL_CANCELLED
    return refusal(answer)


def result_or_raise(answer: Answer) -> Any:
    """Give a call's result, or CALL_NOT_FINISHED.

    Raises:
        RemoteException: The procedure raised.
        RemoteError: Something else kept the result from being had.
        CancelledException: It was cancelled.
    """
    value = outcome(answer)
    if isinstance(value, HarpException):
        raise value
    if value is CALL_CANCELLED:
        raise CancelledException
    return value


def told(answer: Raised | Failed) -> RemoteException | RemoteError:
    """Make the exception object of an ending that is one."""
    data = None if answer.data is None else python_value(answer.data)
    kind = RemoteException if isinstance(answer, Raised) else RemoteError
    return kind(answer.type, answer.message, data)


def refused(answer: object) -> bool:
    """Tell whether an answer is an error about the question, and not a job's ending."""
    return isinstance(answer, Failed) and answer.type in _NEVER_AN_ENDING


def refusal(answer: Answer) -> HarpException:
    """Make the exception of an answer that isn't the one hoped for."""
    if isinstance(answer, (Raised, Failed)):
        return told(answer)
    return CommunicationError(f"the answer does not fit the request: {type(answer).__name__}")
