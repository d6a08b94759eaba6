"""What each command does, whichever face it comes through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail

from harpcaller.control.commands import TABLE, Listing, Single, answerable, begin, carry_out
from harpcaller.errors import InvalidJobId, StorageError, WireError
from harpcaller.interfaces import Pruned, StoredJob
from harpcaller.testing.dispatcher import FakeDaemon, FakeDispatcher
from harpcaller.wire import control, control_answers
from harpcaller.wire.client import JobId
from harpcaller.wire.control import (
    COMMANDS,
    Command,
    CommandFailed,
    ConfigRejected,
    InternalError,
    NotAvailable,
    QueueName,
    fields_of,
)
from harpcaller.wire.control_answers import (
    Answer,
    Done,
    Item,
    ListedHost,
    ListedJob,
    ListedQueue,
    UnreadableJob,
)
from harpcaller.wire.ending import Cancelled, Returned
from harpcaller.wire.values import Raw
from tests.control.world import NOBODY, World
from tests.house import HouseCase


class Racing(FakeDispatcher):
    """Its first living job is pruned just after it was named."""

    def living(self) -> Sequence[JobId]:
        return [NOBODY, *super().living()]


class Indexless(FakeDispatcher):
    """Its store has lost its index."""

    def jobs(self, after: int, limit: int) -> Deferred[tuple[Sequence[StoredJob], int]]:
        return fail(StorageError("no index"))


class Failing(FakeDispatcher):
    """It can't prune, for a reason that nobody thought of."""

    def __init__(self, reason: Exception) -> None:
        super().__init__()
        self.reason = reason

    def prune(self, max_age_seconds: float) -> Deferred[Pruned]:
        return fail(self.reason)


class CommandCase(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.world = World(self.clock.seconds)
        self.dispatcher = self.world.dispatcher

    def be(self, dispatcher: FakeDispatcher) -> None:
        """Go on with a dispatcher of another kind."""
        self.world.dispatcher = self.dispatcher = dispatcher

    def doing(self, command: Command) -> Deferred[Answer]:
        entry = TABLE[type(command)]
        assert isinstance(entry, Single)
        return carry_out(self.world.seams, entry, command)

    def do(self, command: Command) -> Answer:
        return self.successResultOf(self.doing(command))

    def refused(self, command: Command, error: type[WireError]) -> WireError:
        found = self.failureResultOf(self.doing(command), error).value
        assert isinstance(found, WireError)
        return found

    def items(self, command: Command) -> list[Item]:
        return self.successResultOf(self.listing(command))

    def listing(self, command: Command) -> Deferred[list[Item]]:
        entry = TABLE[type(command)]
        assert isinstance(entry, Listing)
        items = begin(self.world.seams, entry, command)

        async def collect() -> list[Item]:
            return [item async for item in items]

        return answerable(collect(), command.command)

    def listed(self, command: Command) -> list[JobId]:
        items = self.items(command)
        return [item.job_id for item in items if isinstance(item, ListedJob)]


class TableTests(CommandCase):
    def test_every_command_is_in_the_table(self) -> None:
        """No command can be sent that nobody carries out."""
        self.assertEqual(set(COMMANDS.values()), set(TABLE))


class StartingTests(CommandCase):
    def test_most_commands_need_a_daemon_that_has_started(self) -> None:
        """Before the jobs are known again, nobody is told that there are none."""
        self.world.daemon = FakeDaemon(started=False)
        for command, entry in TABLE.items():
            arguments: dict[str, Any] = {
                field.name: "" for field in fields_of(command) if field.required
            }
            asked = command(**arguments)
            if entry.any_time:
                continue
            if isinstance(entry, Listing):
                error = self.assertRaises(NotAvailable, begin, self.world.seams, entry, asked)
            else:
                error = self.assertRaises(NotAvailable, carry_out, self.world.seams, entry, asked)
            self.assertEqual("the daemon is still starting", str(error))
        self.assertEqual(0, len(self.world.daemon.waiting))

    def test_a_starting_daemon_can_be_stopped(self) -> None:
        """And be asked how far it is, and its log be moved."""
        self.world.daemon = FakeDaemon(started=False)
        for command in (control.Stop(), control.Status(), control.ReopenLogs()):
            self.do(command)
        self.assertEqual(1, self.world.daemon.stops)


class DaemonTests(CommandCase):
    def test_status_of_a_running_daemon(self) -> None:
        """The daemon is up, and says which process it is."""
        self.assertEqual(control_answers.DaemonStatus("running", 4711), self.do(control.Status()))

    def test_status_while_starting(self) -> None:
        """Before start-up is complete, status says so at once and leaves nobody waiting."""
        self.world.daemon = FakeDaemon(started=False)
        self.assertEqual(control_answers.DaemonStatus("starting", 4711), self.do(control.Status()))
        self.assertEqual(0, len(self.world.daemon.waiting))

    def test_status_waits_for_start_up(self) -> None:
        """With wait, the answer comes when start-up is complete."""
        daemon = self.world.daemon = FakeDaemon(started=False)
        answer = self.doing(control.Status(wait=True))
        self.assertNoResult(answer)
        daemon.started()
        self.assertEqual(
            control_answers.DaemonStatus("running", 4711), self.successResultOf(answer)
        )

    def test_stop_begins_and_tells_the_process(self) -> None:
        """The stop is under way when the answer goes out."""
        self.assertEqual(control_answers.Stopping(4711), self.do(control.Stop()))
        self.assertEqual(1, self.world.daemon.stops)

    def test_reload(self) -> None:
        """A configuration without mistakes is taken."""
        self.assertEqual(Done(), self.do(control.ReloadConfig()))
        self.assertEqual(1, self.world.daemon.reloads)

    def test_reload_tells_every_problem(self) -> None:
        """One run names every mistake."""
        self.world.daemon.problems = ["line 4: bad", "line 7: worse"]
        error = self.refused(control.ReloadConfig(), ConfigRejected)
        assert isinstance(error, ConfigRejected)
        self.assertEqual("line 4: bad; line 7: worse", error.message)
        self.assertEqual(("line 4: bad", "line 7: worse"), error.problems)

    def test_reopen_logs(self) -> None:
        """The log goes on in a new file."""
        self.assertEqual(Done(), self.do(control.ReopenLogs()))
        self.assertEqual(1, self.world.daemon.reopenings)

    def test_log_that_cannot_be_reopened(self) -> None:
        """The operator is told why, the daemon goes on."""
        self.world.daemon.reopen_error = PermissionError(13, "Permission denied", "/var/log/x")
        error = self.refused(control.ReopenLogs(), CommandFailed)
        self.assertIn("cannot reopen the log", error.message)
        self.assertIn("/var/log/x", error.message)

    def test_erlang_networking_is_missing(self) -> None:
        """Both commands name the piece that there isn't."""
        for command in (control.DistStart(), control.DistStop()):
            message = self.refused(command, NotAvailable).message
            self.assertIn("Erlang networking is not part of this dispatcher yet: ", message)
            self.assertIn("epmd", message)


class JobTests(CommandCase):
    def test_living_jobs_in_order(self) -> None:
        """Without all, those that wait or run."""
        first, second, third = (self.world.job() for _ in range(3))
        self.dispatcher.end(second, Cancelled())
        self.assertEqual([first, third], self.listed(control.ListJobs()))

    def test_all_jobs_over_many_pages(self) -> None:
        """Every recorded job, in order of submission."""
        jobs = [self.world.job() for _ in range(100)]
        self.dispatcher.end(jobs[5], Returned(Raw(b"1")))
        self.assertEqual(jobs, self.listed(control.ListJobs(all=True)))

    def test_queue_flag_reaches_the_items(self) -> None:
        """The flag decides what is shown, in both kinds of list."""
        self.world.job(b'{"q":1}')
        for both in (False, True):
            (item,) = self.items(control.ListJobs(all=both, queue=True))
            assert isinstance(item, ListedJob)
            self.assertTrue(item.with_queue)
            self.assertEqual(b'{"q":1}', item.status.queue_name)

    def test_damaged_job_does_not_break_the_list(self) -> None:
        """The rest of the jobs are listed, and the damaged one is named."""
        first, second, third = (self.world.job() for _ in range(3))
        self.dispatcher.damage(second)
        items = self.items(control.ListJobs())
        self.assertEqual([ListedJob, UnreadableJob, ListedJob], [type(item) for item in items])
        self.assertEqual([first, third], self.listed(control.ListJobs()))

    def test_job_that_goes_meanwhile_is_left_out(self) -> None:
        """A job that ends and is pruned while the list is under way is no error."""
        self.be(Racing())
        first, second = self.world.job(), self.world.job()
        self.assertEqual([first, second], self.listed(control.ListJobs()))

    def test_index_that_cannot_be_read_ends_the_list(self) -> None:
        """The list says that it isn't complete."""
        self.be(Indexless())
        self.failureResultOf(self.listing(control.ListJobs(all=True)), StorageError)

    def test_info(self) -> None:
        """One job, living or ended."""
        job = self.world.job()
        self.assertEqual([job], self.listed(control.JobInfo(job)))
        self.dispatcher.end(job, Cancelled())
        self.assertEqual([job], self.listed(control.JobInfo(job)))

    def test_info_of_an_unknown_job(self) -> None:
        """It is an error of its own kind."""
        self.failureResultOf(self.listing(control.JobInfo(NOBODY)), InvalidJobId)

    def test_cancel(self) -> None:
        """A job is ended, once."""
        job = self.world.job()
        self.assertEqual(control_answers.JobCancelled(True), self.do(control.CancelJob(job)))
        self.assertEqual(control_answers.JobCancelled(False), self.do(control.CancelJob(job)))

    def test_cancel_of_an_unknown_job(self) -> None:
        """That is told apart from a job that has ended."""
        self.refused(control.CancelJob(NOBODY), InvalidJobId)

    def test_prune(self) -> None:
        """What ended long enough ago is forgotten, and the count is told."""
        old, young = self.world.job(), self.world.job()
        self.dispatcher.end(old, Cancelled())
        self.clock.advance(100)
        self.dispatcher.end(young, Cancelled())
        self.dispatcher.unprunable = 2
        self.assertEqual(control_answers.PruneOutcome(1, 2), self.do(control.PruneJobs(50.0)))
        self.assertEqual([young], self.listed(control.ListJobs(all=True)))


class QueueTests(CommandCase):
    def test_queues(self) -> None:
        """Those that have a job."""
        self.world.job(b'{"a":1}')
        self.world.job(b'{"b":1}')
        self.world.job()
        self.assertEqual(
            [ListedQueue(Raw(b'{"a":1}')), ListedQueue(Raw(b'{"b":1}'))],
            self.items(control.ListQueues()),
        )

    def test_content_of_a_queue(self) -> None:
        """The running jobs first, found by the name's value."""
        waiting = self.world.job(b'{"a":1,"b":2}')
        running = self.world.job(b'{"a":1,"b":2}')
        self.dispatcher.start(running)
        name = QueueName(Raw(b'{"b":2.0,"a":1}'))
        self.assertEqual([running, waiting], self.listed(control.ListQueue(name)))

    def test_queue_that_does_not_live_is_empty(self) -> None:
        """It may have lived a moment ago."""
        self.assertEqual([], self.items(control.ListQueue(QueueName(Raw(b"{}")))))

    def test_cancel_queue(self) -> None:
        """Every job in it is ended, and the count is told."""
        for _ in range(3):
            self.world.job(b"{}")
        name = QueueName(Raw(b"{}"))
        self.assertEqual(control_answers.QueueCancelled(3), self.do(control.CancelQueue(name)))
        self.assertEqual(control_answers.QueueCancelled(0), self.do(control.CancelQueue(name)))


class HostTests(CommandCase):
    def test_hosts_without_credentials(self) -> None:
        """The registry by name, passwords left where they are."""
        items = self.items(control.ListHosts())
        self.assertEqual(
            [ListedHost("web01", "10.0.0.1", 4306), ListedHost("web02", "::1", 4307)], items
        )

    def test_refresh(self) -> None:
        """The filler script is run."""
        self.assertEqual(Done(), self.do(control.RefreshHosts()))
        self.assertEqual(1, self.world.hosts.refreshes)

    def test_refresh_that_fails_says_why(self) -> None:
        """The operator is told that nothing changed."""
        self.world.hosts.problem = "the script ended with exit code 3"
        self.assertEqual(
            "the hosts registry is unchanged: the script ended with exit code 3",
            self.refused(control.RefreshHosts(), CommandFailed).message,
        )


class BugTests(CommandCase):
    def test_bug_is_logged_and_not_shown(self) -> None:
        """The asker learns that something is wrong, the log has what."""
        self.be(Failing(RuntimeError("caixaudakuPus6yo")))
        error = self.refused(control.PruneJobs(1.0), InternalError)
        self.assertNotIn("caixa", error.message)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    def test_work_that_was_cancelled_inside_is_answered(self) -> None:
        """Somebody else's cancelling doesn't leave a client without an answer."""
        self.be(Failing(CancelledError()))
        self.refused(control.PruneJobs(1.0), InternalError)
