"""harpcallerd as its users see it: what it prints, and its exit code."""

from __future__ import annotations

import errno
import io
import os
import shutil
import subprocess
import sys
import tempfile
from typing import NoReturn

from twisted.trial.unittest import SynchronousTestCase

from harpcaller import __version__
from harpcaller.control.cli import main
from harpcaller.control.connection import Deadline, TimeIsUp, wait_for_process
from harpcaller.wire import control
from harpcaller.wire.client import JobId
from tests.control.scripted import OK, ScriptedDaemon

JOB = (
    b'{"job":"9e03ca7a","call":{"host":"web01","procedure":"p","arguments":[]},'
    b'"time":{"submit":1455282411,"start":null,"end":null}}\n'
)
RUNNING = b'{"result":"ok","status":"running","pid":1}\n'
STARTING = b'{"result":"ok","status":"starting","pid":1}\n'


def gone_pid() -> int:
    """Give the process id of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def no_pidfd(pid: int) -> NoReturn:
    """Be an old kernel."""
    raise OSError(errno.ENOSYS, "Function not implemented")


class ToolCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = tempfile.mkdtemp()  # trial's own is too long for a socket's path
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = os.path.join(self.directory, "control")

    def daemon(self, *answers: bytes | None) -> ScriptedDaemon:
        daemon = ScriptedDaemon(self.path, *answers)
        self.addCleanup(daemon.close)
        return daemon

    def run_tool(self, *argv: str) -> tuple[int, bytes, str]:
        out, err = io.BytesIO(), io.StringIO()
        code = main([f"--socket={self.path}", *argv], out, err)
        return code, out.getvalue(), err.getvalue()

    def unreachable(self, why: str) -> str:
        return f"harpcallerd: cannot reach the daemon at {self.path}: {why}\n"


class UsageTests(ToolCase):
    def test_bad_usage_is_two_lines(self) -> None:
        """What is wrong, and how it would be right."""
        self.assertEqual(
            (
                2,
                b"",
                "harpcallerd: --age: expected a number of days, got 'ten'\n"
                "usage: harpcallerd [--socket=PATH] prune-jobs [--age=DAYS]\n",
            ),
            self.run_tool("prune-jobs", "--age=ten"),
        )

    def test_help(self) -> None:
        """Asked for, it is a result."""
        code, out, err = self.run_tool("--help")
        self.assertEqual((0, ""), (code, err))
        self.assertIn(b"queue-cancel QUEUE-NAME\n", out)
        self.assertEqual(
            (0, b"usage: harpcallerd [--socket=PATH] info JOB-ID\n", ""),
            self.run_tool("info", "-h"),
        )

    def test_version(self) -> None:
        """For bug reports."""
        self.assertEqual(
            (0, f"harpcallerd {__version__}\n".encode(), ""), self.run_tool("--version")
        )


class PlainTests(ToolCase):
    def test_done_prints_nothing(self) -> None:
        """What is done needs no words, and cron sends no mail."""
        pruned = b'{"result":"ok","removed":7,"failed":0}\n'
        cancelled = b'{"result":"ok","cancelled":true}\n'
        for argv, answer, asked in (
            (["reload"], OK, control.ReloadConfig()),
            (["reopen-logs"], OK, control.ReopenLogs()),
            (["hosts-refresh"], OK, control.RefreshHosts()),
            (["prune-jobs"], pruned, control.PruneJobs(2592000.0)),
            (["cancel", "X"], cancelled, control.CancelJob(JobId("X"))),
        ):
            daemon = ScriptedDaemon(self.path, answer)
            self.assertEqual((0, b"", ""), self.run_tool(*argv))
            self.assertEqual([asked], daemon.asked)
            daemon.close()
            os.unlink(self.path)

    def test_no_daemon(self) -> None:
        """It could not be done, and why is on one line."""
        for command in ("reload", "list", "hosts-list", "prune-jobs"):
            expected = (2, b"", self.unreachable("No such file or directory"))
            self.assertEqual(expected, self.run_tool(command))

    def test_dead_daemon(self) -> None:
        """Its socket is still there."""
        self.daemon().close()
        self.assertEqual((2, b"", self.unreachable("Connection refused")), self.run_tool("list"))

    def test_path_too_long(self) -> None:
        """The system's limit is told as it is."""
        self.path = "/" + "x" * 200
        self.assertEqual((2, b"", self.unreachable("AF_UNIX path too long")), self.run_tool("list"))

    def test_daemon_that_dies_over_it(self) -> None:
        """No answer is not done."""
        self.daemon(b"")
        self.assertEqual(
            (2, b"", self.unreachable("it hung up before it had answered")),
            self.run_tool("reload"),
        )

    def test_something_else_listens(self) -> None:
        """It is told as such."""
        for answer in (b"SSH-2.0\n", b'{"result":"ok"}\n', b'{"job":"X"}\n'):
            daemon = ScriptedDaemon(self.path, answer)
            code, out, err = self.run_tool("cancel", "X")
            self.assertEqual((2, b""), (code, out))
            self.assertIn(f"the daemon at {self.path} gave an answer that is none: ", err)
            daemon.close()
            os.unlink(self.path)

    def test_reload_with_mistakes_prints_each(self) -> None:
        """The answer is no, and the operator has the whole list."""
        self.daemon(
            b'{"result":"error","type":"config_rejected","message":"a; b","problems":["a","b"]}\n'
        )
        expected = "harpcallerd: a\nharpcallerd: b\nharpcallerd: the configuration is unchanged\n"
        self.assertEqual((1, b"", expected), self.run_tool("reload"))

    def test_unknown_job(self) -> None:
        """The answer is no."""
        refusal = b'{"result":"error","type":"invalid_jobid","message":"whatever"}\n'
        self.daemon(refusal, refusal)
        for command in ("info", "cancel"):
            self.assertEqual((1, b"", "harpcallerd: no such job\n"), self.run_tool(command, "X"))

    def test_ended_job_is_not_cancelled(self) -> None:
        """That is a no, too."""
        self.daemon(b'{"result":"ok","cancelled":false}\n')
        self.assertEqual(
            (1, b"", "harpcallerd: the job has ended already\n"), self.run_tool("cancel", "X")
        )

    def test_other_errors_are_passed_on(self) -> None:
        """What the daemon says is what the operator reads."""
        self.daemon(b'{"result":"error","type":"command_failed","message":"exit code 3"}\n')
        self.assertEqual((2, b"", "harpcallerd: exit code 3\n"), self.run_tool("hosts-refresh"))

    def test_jobs_that_cannot_be_pruned(self) -> None:
        """Cron's mail says so."""
        self.daemon(b'{"result":"ok","removed":7,"failed":2}\n')
        self.assertEqual(
            (2, b"", "harpcallerd: 2 jobs could not be removed (7 were)\n"),
            self.run_tool("prune-jobs", "--age=3"),
        )


class ListTests(ToolCase):
    def test_lines_as_they_come(self) -> None:
        """JSON lines and nothing else."""
        daemon = self.daemon(JOB + JOB + OK)
        self.assertEqual((0, JOB + JOB, ""), self.run_tool("list", "--all", "--queue"))
        self.assertEqual([control.ListJobs(all=True, queue=True)], daemon.asked)

    def test_queues_are_their_names(self) -> None:
        """Ready for queue-cancel."""
        self.daemon(b'{"queue":{"result":"ok"}}\n{"queue":{}}\n' + OK)
        self.assertEqual((0, b'{"result":"ok"}\n{}\n', ""), self.run_tool("queue-list"))

    def test_damaged_jobs_are_complained_about(self) -> None:
        """The rest of the list is there."""
        damaged = b'{"job":"bad","error":{"type":"storage_error","message":"damaged"}}\n'
        self.daemon(JOB + damaged + JOB + OK)
        self.assertEqual((0, JOB + JOB, "harpcallerd: job bad: damaged\n"), self.run_tool("list"))

    def test_word_error_inside_a_job(self) -> None:
        """Arguments may have any words."""
        job = JOB.replace(b"[]", b'{"error":1,"result":"ok"}')
        self.daemon(job + OK)
        self.assertEqual((0, job, ""), self.run_tool("list"))

    def test_list_that_breaks_off(self) -> None:
        """What came is printed, and the exit code says that it isn't all."""
        self.daemon(JOB)
        self.assertEqual(
            (2, JOB, self.unreachable("it hung up before it had answered")), self.run_tool("list")
        )

    def test_list_that_ends_in_an_error(self) -> None:
        """Likewise."""
        self.daemon(JOB + b'{"result":"error","type":"storage_error","message":"no index"}\n')
        self.assertEqual((2, JOB, "harpcallerd: no index\n"), self.run_tool("list"))

    def test_tables(self) -> None:
        """For people, aligned."""
        for argv, answer, first in (
            (
                ["list"],
                JOB,
                "JOB       STATE   HOST   PROCEDURE  SUBMITTED (UTC) ",
            ),
            (["queue-list"], b'{"queue":{"a":1}}\n', "QUEUE"),
            (["queue-list", "{}"], JOB, "JOB       STATE "),
            (
                ["hosts-list"],
                b'{"hostname":"web01","address":"::1","port":1}\n',
                "HOSTNAME  ADDRESS",
            ),
        ):
            daemon = ScriptedDaemon(self.path, answer + OK)
            code, out, err = self.run_tool(*argv, "--table")
            self.assertEqual((0, 2, ""), (code, len(out.splitlines()), err))
            self.assertTrue(out.decode().startswith(first), out)
            daemon.close()
            os.unlink(self.path)

    def test_table_with_queues(self) -> None:
        """One more column."""
        self.daemon(JOB.replace(b"}}\n", b'},"queue":{"a":1}}\n') + OK)
        _, out, _ = self.run_tool("list", "--queue", "--table")
        header, row = out.decode().splitlines()
        self.assertTrue(header.endswith("  QUEUE"))
        self.assertTrue(row.endswith('  {"a":1}'))

    def test_broken_pipe_ends_quietly(self) -> None:
        """``list --all | head -1``."""
        self.daemon(JOB * 1000 + OK)
        reading, writing = os.pipe()
        os.close(reading)
        err = io.StringIO()
        with open(writing, "wb", buffering=0) as out:
            self.assertEqual(0, main([f"--socket={self.path}", "list"], out, err))
        self.assertEqual("", err.getvalue())

    def test_terminal_sees_every_line_at_once(self) -> None:
        """Nothing is held back from people."""

        class Terminal(io.BytesIO):
            flushes = 0

            def isatty(self) -> bool:
                return True

            def flush(self) -> None:
                self.flushes += 1

        self.daemon(JOB * 3 + OK)
        out = Terminal()
        main([f"--socket={self.path}", "list"], out, io.StringIO())
        self.assertEqual(4, out.flushes)


class StatusTests(ToolCase):
    def test_running(self) -> None:
        """On standard output, for scripts."""
        self.daemon(RUNNING)
        self.assertEqual((0, b"running\n", ""), self.run_tool("status"))

    def test_not_running(self) -> None:
        """A socket that isn't there, and one that nobody listens on."""
        self.assertEqual((1, b"not running\n", ""), self.run_tool("status"))
        self.daemon().close()
        self.assertEqual((1, b"not running\n", ""), self.run_tool("status"))

    def test_starting(self) -> None:
        """It doesn't run yet."""
        self.daemon(STARTING)
        self.assertEqual(
            (1, b"not running\n", "harpcallerd: the daemon is starting\n"), self.run_tool("status")
        )

    def test_not_to_be_had(self) -> None:
        """Whether it runs can't be told from here."""
        os.mkdir(self.path)
        for argv in (["status"], ["status", "--wait"]):
            self.path = os.path.join(self.directory, "control", "x" * 200)
            self.assertEqual(
                (2, b"", self.unreachable("AF_UNIX path too long")), self.run_tool(*argv)
            )

    def test_daemon_that_says_nothing(self) -> None:
        """Monitoring isn't kept waiting."""
        self.daemon(None)
        self.assertEqual(
            (2, b"", "harpcallerd: the daemon didn't answer within 0.1 seconds\n"),
            self.run_tool("status", "--timeout=0.1"),
        )

    def test_waiting_in_vain(self) -> None:
        """At most so long."""
        self.assertEqual(
            (1, b"not running\n", ""), self.run_tool("status", "--wait", "--timeout=0.1")
        )

    def test_waiting_for_a_daemon_that_says_nothing(self) -> None:
        """Its start-up may take longer than we want to wait."""
        daemon = self.daemon(None)
        self.assertEqual(
            (1, b"not running\n", ""), self.run_tool("status", "--wait", "--timeout=0.1")
        )
        self.assertEqual([control.Status(wait=True)], daemon.asked)

    def test_waiting_over_a_daemon_that_dies_while_it_starts(self) -> None:
        """Its service manager starts it again."""
        self.daemon(b"", RUNNING)
        self.assertEqual((0, b"running\n", ""), self.run_tool("status", "--wait"))

    def test_without_wait_a_dying_daemon_is_an_error(self) -> None:
        """Whether another follows isn't known."""
        self.daemon(b"")
        self.assertEqual(
            (2, b"", self.unreachable("it hung up before it had answered")),
            self.run_tool("status"),
        )


class StopTests(ToolCase):
    def stopping(self, pid: int) -> bytes:
        return b'{"result":"ok","pid":%d}\n' % pid

    def child(self) -> int:
        """Start a process that ends when the test does."""
        process = subprocess.Popen(["sleep", "60"])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process.pid

    def test_nothing_to_stop(self) -> None:
        """Is a success."""
        self.assertEqual((0, b"", ""), self.run_tool("stop"))

    def test_stopped(self) -> None:
        """When its process is gone."""
        self.daemon(self.stopping(gone_pid()))
        self.assertEqual((0, b"", ""), self.run_tool("stop"))

    def test_pid_is_printed(self) -> None:
        """So that the caller can wait for it, too."""
        pid = gone_pid()
        self.daemon(self.stopping(pid))
        self.assertEqual((0, b"%d\n" % pid, ""), self.run_tool("stop", "--print-pid"))

    def test_process_that_stays(self) -> None:
        """The operator is told which it is."""
        pid = self.child()
        self.daemon(self.stopping(pid))
        complaint = f"harpcallerd: the daemon (process {pid}) is still running after 0.1 seconds\n"
        self.assertEqual((2, b"", complaint), self.run_tool("stop", "--timeout=0.1"))

    def test_daemon_that_says_nothing(self) -> None:
        """The limit is for the whole."""
        self.daemon(None)
        complaint = "harpcallerd: the daemon is still running after 0.1 seconds\n"
        self.assertEqual((2, b"", complaint), self.run_tool("stop", "--timeout", "0.1"))

    def test_daemon_that_dies_over_it(self) -> None:
        """Whether it stopped isn't known."""
        self.daemon(b"")
        self.assertEqual(2, self.run_tool("stop")[0])

    def test_process_without_pidfd(self) -> None:
        """An old kernel: the process is looked for again and again."""

        wait_for_process(gone_pid(), Deadline(5), no_pidfd)
        self.assertRaises(TimeIsUp, wait_for_process, self.child(), Deadline(0.1), no_pidfd)

    def test_process_of_another_user(self) -> None:
        """It may be looked for all the same."""

        def forbidden(pid: int, signal: int) -> NoReturn:
            raise PermissionError

        self.assertRaises(TimeIsUp, wait_for_process, 1, Deadline(0.1), no_pidfd, forbidden)


class StartTests(ToolCase):
    def start(self, *argv: str) -> list[str]:
        became: list[list[str]] = []
        code = main(
            ["start", *argv],
            io.BytesIO(),
            io.StringIO(),
            lambda path, command: became.append([path, *command]),
        )
        self.assertEqual(0, code)
        (command,) = became
        self.assertEqual([sys.executable, sys.executable, "-P", "-c"], command[:4])
        self.assertIn("from twisted.scripts.twistd import run; run()", command[4])
        return command[5:]

    def test_becomes_twistd(self) -> None:
        """The same as ``twistd -n harpcaller --config=FILE --socket=PATH``."""
        self.assertEqual(
            [
                "--nodaemon",
                "--pidfile=",
                "harpcaller",
                "--config=/etc/harpcaller/harpcaller.toml",
                "--socket=/var/run/harpcaller/control",
            ],
            self.start(),
        )

    def test_options(self) -> None:
        """Paths are made absolute, before twistd may change directory."""
        here = os.getcwd()
        self.assertEqual(
            [
                f"--pidfile={here}/x.pid",
                "harpcaller",
                f"--config={here}/c.toml",
                "--socket=/s",
                "--debug",
            ],
            self.start("--detach", "--debug", "--pidfile=x.pid", "--config=c.toml", "--socket=/s"),
        )

    def test_store_check(self) -> None:
        """It becomes a program of its own, which needs no daemon."""
        here = os.getcwd()
        for words, expected in (
            ((), ["--config=/etc/harpcaller/harpcaller.toml"]),
            (("--config=c.toml", "--json"), [f"--config={here}/c.toml", "--json"]),
            (("--directory=st", "--repair"), [f"--directory={here}/st", "--repair"]),
        ):
            became: list[str] = []

            def execute(path: str, command: list[str], became: list[str] = became) -> None:
                became += [path, *command]

            self.assertEqual(0, main(["store-check", *words], io.BytesIO(), io.StringIO(), execute))
            program = ["-P", "-m", "harpcaller.service.store_check"]
            self.assertEqual([sys.executable, sys.executable, *program, *expected], became)

    def test_interpreter_that_is_gone(self) -> None:
        """An upgrade took it away."""

        def execute(path: str, command: list[str]) -> NoReturn:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")

        err = io.StringIO()
        self.assertEqual(2, main(["start"], io.BytesIO(), err, execute))
        self.assertIn("cannot start", err.getvalue())


class InterruptTests(ToolCase):
    def test_interrupted(self) -> None:
        """Ctrl-C prints no traceback."""

        def execute(path: str, command: list[str]) -> NoReturn:
            raise KeyboardInterrupt

        self.assertEqual(130, main(["start"], io.BytesIO(), io.StringIO(), execute))
