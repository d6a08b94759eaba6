"""What each command does: one table, from the typed command to a function over the seams.

The faces (JSON lines, AMP) only read a command, look it up in :data:`TABLE` and write
what comes back.  Nothing here knows how a command arrived.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from typing import Any, NoReturn, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from harpcaller.errors import InvalidJobId, StorageError, WireError
from harpcaller.interfaces import IDaemon, IDispatcher, IHosts
from harpcaller.logs.events import EventLog
from harpcaller.wire.client import JobId
from harpcaller.wire.control import (
    CancelJob,
    CancelQueue,
    Command,
    CommandFailed,
    ConfigRejected,
    DistStart,
    DistStop,
    InternalError,
    JobInfo,
    ListHosts,
    ListJobs,
    ListQueue,
    ListQueues,
    NotAvailable,
    PruneJobs,
    RefreshHosts,
    ReloadConfig,
    ReopenLogs,
    Status,
    Stop,
    fields_of,
)
from harpcaller.wire.control_answers import (
    Answer,
    DaemonStatus,
    Done,
    Item,
    JobCancelled,
    ListedHost,
    ListedJob,
    ListedQueue,
    PruneOutcome,
    QueueCancelled,
    Stopping,
    UnreadableJob,
)

#: How many jobs are asked for at once; each may carry arguments of a megabyte.
JOBS_AT_ONCE = 32

_log = EventLog("control")
T = TypeVar("T")


@attrs.frozen
class Seams:
    """Whom the commands ask."""

    dispatcher: IDispatcher
    hosts: IHosts
    daemon: IDaemon


# --- The daemon ----------------------------------------------------------------------------


async def status(seams: Seams, command: Status) -> DaemonStatus:
    """Tell whether start-up is complete, or wait until it is."""
    if command.wait:
        await seams.daemon.ready()
    return DaemonStatus("running" if _is_ready(seams.daemon) else "starting", seams.daemon.pid)


def _is_ready(daemon: IDaemon) -> bool:
    ready = daemon.ready()
    is_ready = ready.called
    _ = ready.addErrback(_given_up)
    ready.cancel()
    return is_ready


def _given_up(failure: Failure) -> None:
    failure.trap(CancelledError)


async def stop(seams: Seams, command: Stop) -> Stopping:
    """Begin the stop; it is complete when the process with this pid is gone."""
    seams.daemon.stop()
    return Stopping(seams.daemon.pid)


async def reload_config(seams: Seams, command: ReloadConfig) -> Done:
    """Read the configuration again, all of it or none."""
    problems = await seams.daemon.reload()
    if problems:
        raise ConfigRejected("; ".join(problems), problems)
    return Done()


async def reopen_logs(seams: Seams, command: ReopenLogs) -> Done:
    """Let the log go on in a new file."""
    try:
        seams.daemon.reopen_logs()
    except OSError as error:
        raise CommandFailed(f"cannot reopen the log: {error}") from None
    return Done()


# --- Jobs ----------------------------------------------------------------------------------


async def list_jobs(seams: Seams, command: ListJobs) -> AsyncGenerator[Item, None]:
    """Give the living jobs, or all, in order of submission."""
    if not command.all:
        async for item in _jobs(seams, seams.dispatcher.living(), command.queue):
            yield item
        return
    position = 0
    while True:
        page, position = await seams.dispatcher.jobs(position, JOBS_AT_ONCE)
        if not page:
            return
        for job in page:
            yield ListedJob(job.job_id, job.status, command.queue)


async def _jobs(
    seams: Seams, job_ids: Iterable[JobId], with_queue: bool = False
) -> AsyncGenerator[Item, None]:
    """Look jobs up one by one, while some of them end, go and turn out to be damaged."""
    for job_id in job_ids:
        try:
            found = await seams.dispatcher.status(job_id)
        except InvalidJobId:
            continue  # it ended and was pruned since the list was begun
        except StorageError as error:
            yield UnreadableJob(job_id, error.wire_type, error.message)
        else:
            yield ListedJob(job_id, found, with_queue)


async def job_info(seams: Seams, command: JobInfo) -> AsyncGenerator[Item, None]:
    """Give one job, living or ended."""
    yield ListedJob(command.job, await seams.dispatcher.status(command.job))


async def cancel_job(seams: Seams, command: CancelJob) -> JobCancelled:
    """End a job; an unknown one is an error, one that has ended isn't."""
    cancelled = await seams.dispatcher.cancel(command.job)
    if not cancelled:
        _ = await seams.dispatcher.status(command.job)
    return JobCancelled(cancelled)


async def prune_jobs(seams: Seams, command: PruneJobs) -> PruneOutcome:
    """Forget old jobs."""
    pruned = await seams.dispatcher.prune(command.max_age)
    return PruneOutcome(pruned.removed, pruned.failed)


# --- Queues --------------------------------------------------------------------------------


async def list_queues(seams: Seams, command: ListQueues) -> AsyncGenerator[Item, None]:
    """Give the names of the queues that live."""
    for name in seams.dispatcher.queues():
        yield ListedQueue(name)


def list_queue(seams: Seams, command: ListQueue) -> AsyncGenerator[Item, None]:
    """Give a queue's jobs; a queue that doesn't live has none."""
    return _jobs(seams, seams.dispatcher.queue_members(command.queue))


async def cancel_queue(seams: Seams, command: CancelQueue) -> QueueCancelled:
    """End the jobs that are in the queue now."""
    return QueueCancelled(await seams.dispatcher.cancel_queue(command.queue))


# --- Hosts and networking ------------------------------------------------------------------


async def list_hosts(seams: Seams, command: ListHosts) -> AsyncGenerator[Item, None]:
    """Give the registry, without its credentials."""
    for host in seams.hosts.all():
        yield ListedHost(host.hostname, host.address, host.port)


async def refresh_hosts(seams: Seams, command: RefreshHosts) -> Done:
    """Fill the registry anew."""
    problem = await seams.hosts.refresh()
    if problem is not None:
        raise CommandFailed(f"the hosts registry is unchanged: {problem}")
    return Done()


async def dist(seams: Seams, command: DistStart | DistStop) -> Done:
    """Say what would be needed."""
    raise NotAvailable(
        "Erlang networking is not part of this dispatcher yet: it needs an Erlang node of its"
        " own (the distribution protocol, and a name registered with epmd), and there is none"
    )


# --- The table -----------------------------------------------------------------------------


@attrs.frozen
class Single:
    """A command with one answer.

    Attributes:
        run: Does it; raises a :class:`~harpcaller.errors.WireError` if it can't be done.
        answer: What it gives when it can.
        for_the_asker: It does nothing but answer, so it ends when the client goes; others
            are done to the end.
        any_time: It can be done before start-up is complete.
    """

    run: Callable[[Seams, Any], Coroutine[Deferred[Any], Any, Answer]]
    answer: type[Answer]
    for_the_asker: bool = False
    any_time: bool = False


@attrs.frozen
class Listing:
    """A command that is answered by items, made while they are asked for.

    Attributes:
        run: Begins the list, which raises a :class:`~harpcaller.errors.WireError` where it
            can't go on.
    """

    run: Callable[[Seams, Any], AsyncGenerator[Item, None]]
    for_the_asker: bool = True
    any_time: bool = False


TABLE: Mapping[type[Command], Single | Listing] = {
    Status: Single(status, DaemonStatus, for_the_asker=True, any_time=True),
    Stop: Single(stop, Stopping, any_time=True),
    ReloadConfig: Single(reload_config, Done),
    PruneJobs: Single(prune_jobs, PruneOutcome),
    ReopenLogs: Single(reopen_logs, Done, any_time=True),
    ListJobs: Listing(list_jobs),
    JobInfo: Listing(job_info),
    CancelJob: Single(cancel_job, JobCancelled),
    ListQueues: Listing(list_queues),
    ListQueue: Listing(list_queue),
    CancelQueue: Single(cancel_queue, QueueCancelled),
    ListHosts: Listing(list_hosts),
    RefreshHosts: Single(refresh_hosts, Done),
    DistStart: Single(dist, Done, any_time=True),
    DistStop: Single(dist, Done, any_time=True),
}


def carry_out(seams: Seams, entry: Single, command: Command) -> Deferred[Answer]:
    """Do what a command says; see :func:`answerable` for how it can end.

    Raises:
        NotAvailable: The daemon isn't ready for it.
    """
    _admit(seams, entry)
    if not entry.for_the_asker:
        _log.info("control.command", command=command.command, **_subject_of(command))
    return answerable(entry.run(seams, command), command.command)


def _subject_of(command: Command) -> dict[str, object]:
    """Tell what a command is about, as the log has it: the job, the queue, the age."""
    values = {field.name: getattr(command, field.name) for field in fields_of(type(command))}
    return {
        name: value.decode() if isinstance(value, bytes) else value
        for name, value in values.items()
    }


def begin(seams: Seams, entry: Listing, command: Command) -> AsyncGenerator[Item, None]:
    """Begin a list; each step of it is to be made :func:`answerable`.

    Raises:
        NotAvailable: The daemon isn't ready for it.
    """
    _admit(seams, entry)
    return entry.run(seams, command)


def _admit(seams: Seams, entry: Single | Listing) -> None:
    # The socket is there first of all, so that start-up can be watched; the jobs come later.
    if not entry.any_time and not _is_ready(seams.daemon):
        raise NotAvailable("the daemon is still starting")


def answerable(work: Coroutine[Deferred[Any], Any, T], what: str) -> Deferred[T]:
    """Start some of a command's work, so that it ends in a result or in an error to answer with.

    Args:
        what: The command's name, for the log.

    Returns:
        What fails with :class:`~harpcaller.errors.WireError` only, a bug with
        :class:`~harpcaller.wire.control.InternalError`.  So does being cancelled: whoever
        cancels looks at the connection, not at this, to know whether to go on.
    """

    def failed(failure: Failure) -> NoReturn:
        if failure.check(CancelledError):
            _log.info("control.abandoned", command=what)
        elif isinstance(failure.value, WireError):
            raise failure.value
        else:
            _log.bug("control.bug", failure, command=what)
        raise InternalError("internal error; the daemon's log has more")

    return Deferred.fromCoroutine(work).addErrback(failed)
