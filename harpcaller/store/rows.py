"""What stands in the index: its tables, and a job's row to values and back, without touching it."""

from __future__ import annotations

import attrs

from harpcaller.wire.client import Call, JobId
from harpcaller.wire.client_answers import JobStatus
from harpcaller.wire.values import Raw

#: A new number makes every older index be thrown away.
FORMAT = 2

#: ``store`` and ``segment`` tell whether an index belongs to the files that lie beside it; see
#: :meth:`harpcaller.store.index.Index.adopt`.
SCHEMA = """
CREATE TABLE job (
    serial INTEGER PRIMARY KEY, id TEXT NOT NULL, submit REAL NOT NULL, start REAL, end REAL,
    host TEXT, procedure TEXT, arguments BLOB, info BLOB, queue BLOB
);
CREATE INDEX job_end ON job (end, serial) WHERE end IS NOT NULL;
CREATE TABLE state (complete INTEGER NOT NULL, store TEXT NOT NULL, segment INTEGER NOT NULL);
INSERT INTO state VALUES (0, '', 0);
"""

# Arguments, info and queue name that are longer together are left to the job's file.
_MOST_DETAIL = 1024

#: A row of the table of jobs.
Columns = tuple[
    int, str, float, float | None, float | None,
    str | None, str | None, bytes | None, bytes | None, bytes | None,
]  # fmt: skip


@attrs.frozen
class Row:
    """A job as the index has it; ``status`` is None where only its file tells enough."""

    serial: int
    job_id: JobId
    status: JobStatus | None


def columns_of(
    serial: int, job_id: JobId, call: Call, submit: float, start: float | None, end: float | None
) -> Columns:
    """Make a job's row."""
    queue = None if call.queue is None else call.queue.name
    detail = len(call.arguments) + len(call.info) + len(queue or b"")
    if detail + len(call.host) + len(call.procedure) > _MOST_DETAIL:
        return (serial, job_id, submit, start, end, None, None, None, None, None)
    return (
        serial, job_id, submit, start, end,
        call.host, call.procedure, call.arguments, call.info, queue,
    )  # fmt: skip


def row(
    serial: int,
    job_id: str,
    submit: float,
    start: float | None,
    end: float | None,
    host: str | None,
    procedure: str | None,
    arguments: bytes,
    info: bytes,
    queue: bytes | None,
) -> Row:
    """Read a job's row, its columns in the table's order."""
    if host is None or procedure is None:
        return Row(serial, JobId(job_id), None)
    status = JobStatus(
        host=host,
        procedure=procedure,
        arguments=Raw(arguments),
        submitted_at=submit,
        started_at=start,
        ended_at=end,
        info=Raw(info),
        queue_name=None if queue is None else Raw(queue),
    )
    return Row(serial, JobId(job_id), status)
