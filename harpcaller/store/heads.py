"""The first line of a job's file: a call to bytes and back, without touching the disk.

It is read most often of all, at a start for each job that waits and for each line of a list.
So there are two ways to read it: quickly, as :func:`head_line` writes it, and, where that fails,
as any JSON.  What it looks like stands in :mod:`harpcaller.store.records`.
"""

from __future__ import annotations

import re

import attrs

from harpcaller.facts import Submitted
from harpcaller.store.records import DEPTH, FORMAT, BadLine, as_line, need, time_text
from harpcaller.wire.client import (
    Call,
    JobId,
    QueueSpec,
    as_arguments,
    as_queue_name,
    call_members,
    queue_member,
)
from harpcaller.wire.fields import BadField, as_integer, as_seconds, as_string, as_time
from harpcaller.wire.values import NULL, NotJSON, Raw, build, encode, members, text_of, value_at

#: A greater number is damage; thirty years of a thousand jobs a second are a millionth of it.
MAX_SERIAL = 10**18 - 1

_serial = re.compile(
    rb'\{"harpcaller_job":[0-9]+,"job":"[0-9a-f-]{36}","serial":([0-9]{1,18}),'
).match

# A head as head_line writes it, in three pieces, between which a value stands that is only
# carried. What is rare (a string with an escape, a time with an exponent) isn't matched.
_NUMBER = r"(-?(?:0|[1-9][0-9]{0,19})(?:\.[0-9]{1,20})?)"
_STRING = r'"([^"\\\x00-\x1f]*)"'
_until_arguments = re.compile(
    rf'\{{"harpcaller_job":{FORMAT},"job":"([0-9a-f-]{{36}})","serial":([0-9]{{1,18}}),'
    rf'"submit":{_NUMBER},(?:"client":{_STRING},)?'
    rf'"call":\{{"host":{_STRING},"procedure":{_STRING},"arguments":'
).match
_until_name_or_info = re.compile(
    rf'(?:,"timeout":{_NUMBER})?(?:,"max_exec_time":{_NUMBER})?\}},'
    r'"queue":(?:(\{)"name":|null,"info":)'
).match
_rest = re.compile(r"\}\n?").fullmatch
_until_info = re.compile(r',"concurrency":([1-9][0-9]{0,17})\},"info":').match


@attrs.frozen
class Head:
    """What the first line tells."""

    job_id: JobId
    serial: int
    submitted: Submitted


def head_line(job_id: JobId, serial: int, submitted: Submitted) -> bytes:
    """Write the first line of a file, its newline included.

    Raises:
        ValueError: The fact can't be written: a time that is none, a newline in a value.
    """
    call = submitted.call
    # Half of a surrogate pair could be written, but not read (UnicodeEncodeError is a ValueError).
    _ = call.host.encode("utf-8"), call.procedure.encode("utf-8")
    return as_line(
        b'{"harpcaller_job":%d,"job":"%s","serial":%d,"submit":%s,%s"call":%s,"queue":%s,"info":%s}'
        % (
            FORMAT,
            job_id.encode("ascii"),
            serial,
            time_text(submitted.at),
            b"" if submitted.client is None else b'"client":%s,' % encode(submitted.client),
            build(call_members(call)),
            NULL if call.queue is None else queue_member(call.queue),
            call.info,
        )
    )


def head_serial(beginning: bytes) -> int:
    """Read the serial from the first bytes of a head, 0 if they are no head's."""
    found = _serial(beginning)
    return 0 if found is None else int(found[1])


def parse_head(line: bytes) -> Head:
    """Read the first line of a file.

    Raises:
        BadLine: It isn't one, or of a newer format.
    """
    try:
        return _as_written(line)
    except (NotJSON, BadField):
        return _as_any_json(line)


def _as_written(line: bytes) -> Head:
    """Read a head in the form that we give it.

    Raises:
        NotJSON, BadField: It has another, or is none.
    """
    text = text_of(line, max_depth=DEPTH)
    first = _expected(_until_arguments(text))
    job_id, serial, at, client, host, procedure = first.groups()
    arguments, end = value_at(text, first.end())
    second = _expected(_until_name_or_info(text, end))
    timeout, total, has_queue = second.groups()
    queue, end = None, second.end()
    if has_queue:
        name, end = value_at(text, end)
        third = _expected(_until_info(text, end))
        queue, end = QueueSpec(as_queue_name(name, "queue.name"), int(third[1])), third.end()
    info, end = value_at(text, end)
    _expected(_rest(text, end))
    call = Call(
        host, procedure, as_arguments(arguments), _limit(timeout), _limit(total), queue, info
    )
    return Head(JobId(job_id), int(serial), Submitted(call, float(at), client))


def _expected(found: re.Match[str] | None) -> re.Match[str]:
    if found is None:
        raise BadField("it is written in another way")
    return found


def _limit(digits: str | None) -> float | None:
    return None if digits is None else as_seconds(Raw(digits.encode("ascii")), "call")


def _as_any_json(line: bytes) -> Head:
    try:
        found = members(line, max_depth=DEPTH)
        version = as_integer(need(found, "harpcaller_job"), "harpcaller_job")
        if version != FORMAT:
            raise BadLine(f"the head is of format {version}, expected {FORMAT}")
        serial = as_integer(need(found, "serial"), "serial")
        if serial > MAX_SERIAL:
            raise BadLine(f"the head: serial: {serial} is too large")
        return Head(
            JobId(as_string(need(found, "job"), "job")),
            serial,
            Submitted(
                _call(found),
                as_time(need(found, "submit"), "submit"),
                as_string(found["client"], "client") if "client" in found else None,
            ),
        )
    except (NotJSON, BadField) as error:
        raise BadLine(f"the head: {error}") from None


def _call(found: dict[str, Raw]) -> Call:
    call = members(need(found, "call"), max_depth=DEPTH)
    timeout = call.get("timeout")
    total = call.get("max_exec_time")
    return Call(
        host=as_string(need(call, "host"), "call.host"),
        procedure=as_string(need(call, "procedure"), "call.procedure"),
        arguments=as_arguments(need(call, "arguments")),
        timeout=None if timeout is None else as_seconds(timeout, "call.timeout"),
        max_exec_time=None if total is None else as_seconds(total, "call.max_exec_time"),
        queue=_queue(need(found, "queue")),
        info=need(found, "info"),
    )


def _queue(raw: Raw) -> QueueSpec | None:
    if raw == NULL:
        return None
    inside = members(raw, max_depth=DEPTH)
    return QueueSpec(
        as_queue_name(need(inside, "name"), "queue.name"),
        as_integer(need(inside, "concurrency"), "queue.concurrency", least=1),
    )
