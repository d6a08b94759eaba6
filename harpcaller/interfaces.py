"""The seams between rooms: read this first.

Each room knows the others by what is here; only :mod:`harpcaller.service` names concrete
classes of two rooms.  Every method that may have to wait returns a Deferred, also where
today's provider has the answer at hand: another (PostgreSQL behind :class:`IJobStore`,
worker processes behind :class:`ICaller`) would not.  None of them may assume that this
dispatcher is the only one.

The values that cross the seams are frozen.  Times are Unix seconds (floats).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from harpcaller.facts import Ended as Ended
from harpcaller.facts import Fact as Fact
from harpcaller.facts import Page as Page
from harpcaller.facts import Recorded as Recorded
from harpcaller.facts import Resumable as Resumable
from harpcaller.facts import Started as Started
from harpcaller.facts import Submitted as Submitted
from harpcaller.wire.agent import Credentials
from harpcaller.wire.client import Call, JobId, QueueSpec
from harpcaller.wire.client_answers import JobStatus
from harpcaller.wire.ending import Ending, Failed
from harpcaller.wire.procedures import ProcedureList
from harpcaller.wire.values import Raw

# --- Store ---------------------------------------------------------------------------------


@attrs.frozen
class StoredJob:
    """A job as lists show it."""

    job_id: JobId
    status: JobStatus


@attrs.frozen
class LeftOver:
    """A job that had not ended when the store was closed or the daemon died.

    If it is ``resumable``, its agent may have it yet.
    """

    job_id: JobId
    call: Call
    submitted_at: float
    started_at: float | None
    records: int
    resumable: bool = False
    client: str | None = None


@attrs.frozen
class Pruned:
    """What a pruning did."""

    removed: int
    failed: int


class IJobStore(Interface):
    """Jobs on disk.

    A job that isn't there is :class:`~harpcaller.errors.InvalidJobId`; one that can't be read
    or written is :class:`~harpcaller.errors.StorageError`.  Reading gives only what is durable.
    """

    def open() -> Deferred[Sequence[LeftOver]]:
        """Take the store, recover it, and give the jobs that had not ended, oldest first."""

    def close() -> Deferred[None]:
        """Write everything down and give the store up."""

    def add(job_id: JobId, *facts: Fact) -> Deferred[None]:
        """Write down what happened; if more than one thing did, they are records.

        The facts of one job are kept in the order of the calls; the first is
        :class:`Submitted`.  Fires when they are as durable as the settings ask for.
        """

    def call(job_id: JobId) -> Deferred[Call]:
        """Read back the call that a job was made of."""

    def status(job_id: JobId) -> Deferred[JobStatus]:
        """Tell what a job is and how far it came."""

    def ending(job_id: JobId) -> Deferred[Ending | None]:
        """Tell how a job ended; None while it hasn't."""

    def count(job_id: JobId) -> Deferred[int]:
        """Count a job's records without reading them."""

    def read(job_id: JobId, since: int) -> Deferred[Page]:
        """Read records from number ``since`` on, as many as fit a bounded page.

        A page without records and without ending means: nothing more now.
        """

    def jobs(after: int, limit: int) -> Deferred[tuple[Sequence[StoredJob], int]]:
        """List jobs in order of submission, ended ones too.

        Args:
            after: 0, or the position that the last call gave.
            limit: How many at most.

        Returns:
            The jobs, and the position to go on from; no jobs means the end.
        """

    def prune(ended_before: float) -> Deferred[Pruned]:
        """Forget the jobs that ended before this time."""


# --- Hosts ---------------------------------------------------------------------------------


@attrs.frozen(cache_hash=True)
class HostTLS:
    """What is special about one agent's certificate.

    Attributes:
        fingerprint: Its SHA-256 in hexadecimal digits: this certificate and no other.
        name: What it is to name instead of the host, and must, if a CA signed it.
    """

    fingerprint: str | None = None
    name: str | None = None


@attrs.frozen(cache_hash=True)
class Host:
    """An agent's place and what it wants to hear; ``repr`` never shows the password."""

    hostname: str
    address: str
    port: int
    credentials: Credentials = attrs.field(repr=False)
    tls: HostTLS = HostTLS()


class IHosts(Interface):
    """The registry of hosts."""

    def find(hostname: str) -> Deferred[Host]:
        """Look a host up; :class:`~harpcaller.errors.UnknownHost` if it isn't there."""

    def all() -> Sequence[Host]:
        """Give every host, by name."""

    def refresh() -> Deferred[str | None]:
        """Run the filler script now, or join the run that is under way.

        Returns:
            None when the registry is what the script printed, else why nothing changed.
        """


@attrs.frozen
class ProcessEnded:
    """How a process ended: an exit code, or the signal that killed it.

    ``killed_because`` tells why the runner ended it, if it did; then the rest counts little.
    """

    exit_code: int | None
    signal: int | None
    output: bytes
    killed_because: str | None = None


class IProcessRunner(Interface):
    """The door through which processes start."""

    def run(
        argv: Sequence[str], *, error_line: Callable[[bytes], None], timeout_seconds: float
    ) -> Deferred[ProcessEnded]:
        """Run a command without a shell, its standard input empty.

        Cancelling kills it, with what it has started; the failure comes when it is gone.

        Args:
            argv: The program's path and its arguments.
            error_line: Called with each line of its error output; a very long one comes in
                pieces.
            timeout_seconds: When to kill it.

        Raises:
            OSError: It can't be started.
        """


# --- Calling -------------------------------------------------------------------------------


@attrs.frozen
class Limits:
    """How long a call may take: between two messages, and from start to end."""

    silence_seconds: float
    total_seconds: float


class ICallSink(Interface):
    """Where the records of a running call go."""

    def resumable() -> None:
        """Hear that the agent keeps the call; before the first record, once."""

    def record(*data: Raw) -> Deferred[None]:
        """Take records; fires when they are stored, which is when the next are wanted.

        A caller holds back an agent that is far ahead of this.
        """


class ICaller(Interface):
    """What carries a call out."""

    def call(
        host: Host,
        job_id: JobId,
        call: Call,
        limits: Limits,
        sink: ICallSink,
        clearance: Deferred[None],
    ) -> Deferred[Ending]:
        """Run one call on one agent, also if the connection breaks and the agent keeps the call.

        Whatever goes wrong with peer or network is an ending.  Cancelling ends the procedure.

        Args:
            job_id: Under which the agent may keep the call.
            clearance: The request is sent only after this fired, so that connecting can
                begin before the job's start is stored.  Belongs to the caller from now on.

        Raises:
            StorageError: The clearance or the sink failed with it.
        """

    def resume(
        host: Host,
        job_id: JobId,
        since: int,
        limits: Limits,
        elapsed_seconds: float,
        sink: ICallSink,
    ) -> Deferred[Ending]:
        """Go on with a call that its agent keeps; otherwise as :meth:`call`.

        Args:
            since: The number of the first record that is wanted.
            elapsed_seconds: How long ago the job started; its silence begins anew.
        """

    def leave(job_id: JobId) -> bool:
        """Let go of a call that its agent keeps, without ending it.

        Returns:
            Whether that could be done.  Then the call fails with
            :class:`~harpcaller.errors.LeftRunning`, and the sink gets nothing more.
        """

    def forget(job_id: JobId) -> None:
        """Hear that a call's end is stored: its agent needn't keep it any longer."""

    def procedures(host: Host) -> Deferred[ProcedureList | Failed]:
        """Ask an agent which procedures it has; takes seconds at most.

        Whatever goes wrong with peer or network is a Failed.  Cancelling closes the connection.
        """


# --- Queues --------------------------------------------------------------------------------


class IPlace(Interface):
    """One job's place in its queue."""

    concurrency: int = Attribute("How many of the queue's jobs may run at once.")

    def wait(start: Callable[[], None]) -> None:
        """Stand in line; ``start`` is called, never from inside this call, at the job's turn."""

    def leave() -> None:
        """Give the place up: reserved, waited for or running."""


class IBoard(Interface):
    """Who may run now."""

    def reserve(job_id: JobId, queue: QueueSpec) -> IPlace:
        """Announce a job: its queue lives from now on, until every place is given up."""

    def queues() -> Sequence[Raw]:
        """Give the names of the queues that live, oldest first."""

    def members(name: Raw) -> Sequence[JobId]:
        """Give the jobs of a queue, the running ones first, then in the order of the line."""


# --- The dispatcher, for listener and control -----------------------------------------------


@attrs.frozen
class Requester:
    """Who asks.

    Attributes:
        peer: Where it is connected from, for the log.
        name: What its certificate or token says that it is; None if nobody knows.
    """

    peer: str
    name: str | None = None


class IFollower(Interface):
    """One reader's place in one job's stream."""

    def next_page() -> Deferred[Page]:
        """Wait for records or the ending; a page with an ending is the last.

        One call at a time.  Cancelling gives the waiting up.
        """


class IDispatcher(Interface):
    """Everything that can be done with jobs, and what there is to call."""

    def submit(call: Call, client: Requester) -> Deferred[JobId]:
        """Make a job of a call; fires when it is stored."""

    def cancel(job_id: JobId) -> Deferred[bool]:
        """End a job; False if it had ended already or there is none."""

    def ending(job_id: JobId, wait: bool) -> Deferred[Ending | None]:
        """Tell how a job ended, or None if it hasn't and ``wait`` is false."""

    def status(job_id: JobId) -> Deferred[JobStatus]:
        """Tell what a job is and how far it came."""

    def read(job_id: JobId, since: int) -> Deferred[Page]:
        """Read a page of what there is now, without waiting."""

    def follow(job_id: JobId, since: int) -> IFollower:
        """Read from record ``since`` on until the end."""

    def position(job_id: JobId, recent: int) -> Deferred[int]:
        """Give the number from which the last ``recent`` of the records so far are read."""

    def living() -> Sequence[JobId]:
        """Give the jobs that wait or run, in order of submission."""

    def jobs(after: int, limit: int) -> Deferred[tuple[Sequence[StoredJob], int]]:
        """List all jobs; see :meth:`IJobStore.jobs`."""

    def queues() -> Sequence[Raw]:
        """Give the names of the queues that live."""

    def queue_members(name: Raw) -> Sequence[JobId]:
        """Give the jobs of a queue."""

    def cancel_queue(name: Raw) -> Deferred[int]:
        """End all jobs that are in the queue now; tells how many it ended."""

    def prune(max_age_seconds: float) -> Deferred[Pruned]:
        """Forget the jobs that ended longer ago than this."""

    def hosts() -> Deferred[Sequence[str]]:
        """Give the names of all hosts, in order."""

    def procedures(host: str) -> Deferred[ProcedureList | Failed]:
        """Ask a host's agent which procedures it has; nothing is stored.

        Fails with :class:`~harpcaller.errors.UnknownHost` if the host isn't in the registry.
        """


class IDaemon(Interface):
    """What an operator can ask of the daemon as a whole."""

    pid: int = Attribute("The daemon's process id.")

    def ready() -> Deferred[None]:
        """Fire once start-up is complete."""

    def stop() -> None:
        """Begin a graceful stop."""

    def reload() -> Deferred[Sequence[str]]:
        """Read the configuration again; gives every problem, and if any, nothing changed."""

    def reopen_logs() -> None:
        """Close the log file and open it anew."""
