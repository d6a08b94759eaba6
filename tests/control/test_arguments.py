"""What may stand on harpcallerd's command line."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.control.arguments import SHAPES, BadUsage, Invocation, parse, summary, usage
from harpcaller.wire import control
from harpcaller.wire.client import JobId
from harpcaller.wire.control import QueueName
from harpcaller.wire.values import Raw


class ParseTests(SynchronousTestCase):
    def bad(self, *argv: str) -> tuple[str, str]:
        error = self.assertRaises(BadUsage, parse, argv)
        return str(error), error.usage

    def test_every_command_of_the_manual(self) -> None:
        """The names, and what each asks the daemon."""
        for line, asked in (
            ("status", control.Status()),
            ("status --wait", control.Status(wait=True)),
            ("stop", control.Stop()),
            ("reload", control.ReloadConfig()),
            ("dist-erl-start", control.DistStart()),
            ("dist-erl-stop", control.DistStop()),
            ("list", control.ListJobs()),
            ("list --all", control.ListJobs(all=True)),
            ("list --queue", control.ListJobs(queue=True)),
            ("info X", control.JobInfo(JobId("X"))),
            ("cancel X", control.CancelJob(JobId("X"))),
            ("queue-list", control.ListQueues()),
            ("queue-list {}", control.ListQueue(QueueName(Raw(b"{}")))),
            ("queue-cancel {}", control.CancelQueue(QueueName(Raw(b"{}")))),
            ("hosts-list", control.ListHosts()),
            ("hosts-refresh", control.RefreshHosts()),
            ("prune-jobs", control.PruneJobs(30 * 86400.0)),
            ("prune-jobs --age=0", control.PruneJobs(0.0)),
            ("prune-jobs --age 1.5", control.PruneJobs(1.5 * 86400)),
            ("reopen-logs", control.ReopenLogs()),
        ):
            self.assertEqual(asked, parse(line.split()).asked)
        self.assertIsNone(parse(["start"]).asked)

    def test_options_before_and_after_with_and_without_equals(self) -> None:
        """However the words stand."""
        expected = Invocation("stop", {"socket": "/s", "timeout": "5"}, 5.0, control.Stop())
        for line in (
            "--socket=/s --timeout=5 stop",
            "stop --socket=/s --timeout=5",
            "--timeout 5 stop --socket /s",
            "--timeout=9 stop --socket /s --timeout 5",
        ):
            self.assertEqual(expected, parse(line.split()))

    def test_default_socket(self) -> None:
        """As in the manual."""
        self.assertEqual("/var/run/harpcaller/control", parse(["stop"]).socket)
        self.assertEqual("./x", parse(["stop", "--socket", "./x"]).socket)

    def test_words_that_look_like_options(self) -> None:
        """After a lone -- they are words."""
        self.assertEqual(control.JobInfo(JobId("--all")), parse(["info", "--", "--all"]).asked)
        self.assertEqual(control.JobInfo(JobId("-")), parse(["info", "-"]).asked)

    def test_queue_names_that_are_none(self) -> None:
        """The shell ate the quotes, most likely."""
        for name, message in (
            ("{a:1}", "QUEUE-NAME: expected a JSON object (in single quotes, for the shell): "),
            ('"q"', "QUEUE-NAME: expected an object, got a string"),
            ("\udcff", "QUEUE-NAME: expected a JSON object"),
            ('{"a":1,"a":2}', 'QUEUE-NAME: the key "a" stands twice'),
        ):
            found, about = self.bad("queue-cancel", name)
            self.assertTrue(found.startswith(message), found)
            self.assertTrue(about.endswith(" queue-cancel QUEUE-NAME"), about)

    def test_bad_numbers(self) -> None:
        """One line that says what was expected."""
        for text in ("ten", "-1", "nan", "inf", "1e3", "", "1_0", "1.", " 1", "9999999999", "٣"):
            message, about = self.bad("stop", f"--timeout={text}")
            self.assertEqual(f"--timeout: expected a number of seconds, got {text!a}", message)
            self.assertTrue(about.endswith("stop [--timeout=SECONDS] [--print-pid]"), about)
        self.assertIn("a number of days, got '1d'", self.bad("prune-jobs", "--age", "1d")[0])

    def test_mistakes_are_named_with_the_commands_usage(self) -> None:
        """A wrong word is quoted."""
        for line, message, about in (
            ("", "no command given", "COMMAND"),
            ("--socket=/x", "no command given", "COMMAND"),
            ("lsit", "unknown command: 'lsit'", "COMMAND"),
            ("list --al", "unknown option: '--al'", " list [--all] [--queue] [--table]"),
            ("--al list", "unknown option: '--al'", " list [--all] [--queue] [--table]"),
            ("list -a", "unknown option: '-a'", " list [--all] [--queue] [--table]"),
            ("stop --all", "--all: not an option of stop", " stop [--timeout=SECONDS]"),
            ("list --all=yes", "--all: takes no value", " list "),
            ("stop --timeout", "--timeout: expected SECONDS after it", " stop "),
            ("stop --timeout --print-pid", "--timeout: expected SECONDS after it", " stop "),
            ("stop --socket=", "--socket: expected a path, got nothing", " stop "),
            ("start --config=", "--config: expected a path, got nothing", " start "),
            ("info", "expected JOB-ID after info", " info JOB-ID"),
            ("info a b", "unexpected argument: 'b'", " info JOB-ID"),
            ("stop now", "unexpected argument: 'now'", " stop "),
            ("queue-list {} {}", "unexpected argument: '{}'", " queue-list "),
        ):
            found, usage_line = self.bad(*line.split())
            self.assertEqual(message, found)
            self.assertTrue(usage_line.startswith("usage: harpcallerd [--socket=PATH]"))
            self.assertIn(about, usage_line)

    def test_quoted_words_are_harmless(self) -> None:
        """A word can't play tricks on the terminal, or fill it."""
        message, _ = self.bad("\x1b[2J" + "x" * 1000)
        self.assertNotIn("\x1b", message)
        self.assertTrue(len(message) < 130)

    def test_help_needs_no_more(self) -> None:
        """Help comes whatever else is missing."""
        self.assertEqual("info", parse(["info", "--help"]).command)
        self.assertIn("help", parse(["-h"]).options)
        self.assertIn("version", parse(["--version"]).options)

    def test_usage_of_every_command(self) -> None:
        """The summary has them all, in a line each."""
        for command in SHAPES:
            line = usage(command)
            self.assertEqual(1, len(line.splitlines()))
            self.assertIn(line.removeprefix("usage: harpcallerd [--socket=PATH] "), summary())
