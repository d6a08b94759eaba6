"""``harp``, the command, against a dispatcher on a real socket."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import harpcaller
from harpcaller.client.command import main
from tests.client.fake_dispatcher import FakeDispatcher, Jobs, Script, line


class Terminal(io.StringIO):
    """An output that somebody looks at."""

    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def nudged() -> Iterator[None]:
    """Let what waits in the kernel come back now and then.

    A ^C that comes between Python's last look at signals and its recv(2) isn't lost, but
    is seen only when something ends that wait.  A person would press again.
    """
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    ended = threading.Event()

    def nudge() -> None:
        while not ended.wait(1):
            signal.pthread_kill(main_thread, signal.SIGWINCH)

    before = signal.signal(signal.SIGWINCH, lambda _number, _frame: None)
    nudging = threading.Thread(target=nudge)
    nudging.start()
    try:
        yield
    finally:
        ended.set()
        nudging.join()
        signal.signal(signal.SIGWINCH, before)


class CommandCase(SynchronousTestCase):
    """Runs the command in this process."""

    def setUp(self) -> None:
        self.jobs = Jobs()
        self.serve(self.jobs)
        self.pause = self.no_pause

    def serve(self, script: Script) -> None:
        """Start the dispatcher."""
        self.dispatcher = FakeDispatcher(script)
        self.addCleanup(self.dispatcher.stop)

    def no_pause(self, _: float) -> None:
        """Let no time pass."""

    def run_harp(self, *words: str, out: io.StringIO | None = None) -> tuple[int, str, str]:
        """Run ``harp`` with these words; give its exit code and what it wrote."""
        out, err = out or io.StringIO(), io.StringIO()
        environ = {"HARPCALLER": f"127.0.0.1:{self.dispatcher.port}"}
        with nudged():
            code = main(words, out, err, environ, self.pause)
        return code, out.getvalue(), err.getvalue()

    def submit(self, *words: str) -> str:
        """Submit a call; give its job's id."""
        code, out, err = self.run_harp("call", "--no-wait", "web01", *words)
        self.assertEqual((0, ""), (code, err))
        return out.strip()


class CallTests(CommandCase):
    """``harp call``."""

    def test_result(self) -> None:
        """The result goes to standard output, the job's id to standard error."""
        code, out, err = self.run_harp("call", "web01", "echo", "1e5", "web", '"5"', '[{"a":null}]')
        self.assertEqual((0, '[100000.0, "web", "5", [{"a": null}]]\n'), (code, out))
        self.assertEqual(f"harp: job {next(iter(self.jobs.jobs))}\n", err)

    def test_result_for_people(self) -> None:
        """On a terminal it is laid out."""
        code, out, _ = self.run_harp("call", "web01", "echo", "é", out=Terminal())
        self.assertEqual((0, '[\n  "\\u00e9"\n]\n'), (code, out))

    def test_json_on_several_lines(self) -> None:
        """An argument or option may come out of a file as it is."""
        text = '{\n  "a": [\n    1\n  ]\n}\n'
        code, out, _ = self.run_harp("call", "w", "echo", text, "--queue", text, "--info", text)
        self.assertEqual((0, '[{"a": [1]}]\n'), (code, out))
        self.assertEqual({"a": [1]}, self.dispatcher.requests[0]["queue"]["name"])

    def test_what_could_disturb_a_terminal(self) -> None:
        """It is shown as an escape, wherever it comes from; programs get it as it came."""
        told = {"type": "E\x1b[2J", "message": "two\nlines\x07"}
        self.serve(lambda r: [line(job_id="j") if "procedure" in r else line(exception=told)])
        self.assertEqual(
            "harp: job j\nharp: E\\u001b[2J: two\nlines\\u0007\n",
            self.run_harp("call", "w", "p")[2],
        )
        self.serve(lambda _: ['{"result":"\x9b2J é"}\n'.encode()])
        self.assertEqual('"\\u009b2J é"\n', self.run_harp("result", "j", out=Terminal())[1])
        self.assertEqual('"\x9b2J é"\n', self.run_harp("result", "j")[1])

    def test_named_arguments(self) -> None:
        """NAME=VALUE; a mix is refused before anything is sent, a name twice too."""
        self.assertEqual(
            '{"a": 1, "b": "x=y"}\n', self.run_harp("call", "w", "echo", "a=1", "b=x=y")[1]
        )
        for words in (["a=1", "b"], ["a=1", "a=2"]):
            code, out, err = self.run_harp("call", "w", "echo", *words)
            self.assertEqual((2, ""), (code, out))
            self.assertTrue(err.startswith("harp: "), err)
        self.assertEqual(1, len(self.jobs.jobs))

    def test_options(self) -> None:
        """They go into the request."""
        self.run_harp(
            *("call", "w", "echo", "--queue", '{"q":1}', "--concurrency", "2", "--timeout", "1.5"),
            *("--max-exec-time", "9", "--info", '"x"'),
        )
        request = self.dispatcher.requests[0]
        found = {key: request[key] for key in ("queue", "timeout", "max_exec_time", "info")}
        expected: dict[str, Any] = {
            "queue": {"name": {"q": 1}, "concurrency": 2},
            "timeout": 1.5,
            "max_exec_time": 9,
            "info": "x",
        }
        self.assertEqual(expected, found)

    def test_mistakes_in_options(self) -> None:
        """Nothing is sent; the message names the option or field."""
        for words, said in [
            (["--timeout", "-1"], "timeout: expected a positive number"),
            (["--timeout", "nan"], "Out of range float values"),
            (["--queue", "[]"], "queue.name: expected an object"),
            (["--queue", "{}", "--concurrency", "-1"], "queue.concurrency: expected a positive"),
            (["--concurrency", "1"], "--concurrency means nothing without --queue"),
            (["\udcff"], "an argument is not UTF-8"),
            (["--bogus"], "unrecognized arguments"),
        ]:
            code, out, err = self.run_harp("call", "w", "echo", *words)
            self.assertEqual((2, ""), (code, out))
            self.assertIn(said, err)
        self.assertEqual(0, self.dispatcher.connections)

    def test_calls_that_end_badly(self) -> None:
        """Exit code 1, and one line that says why."""
        code, out, err = self.run_harp("call", "web01", "fail")
        self.assertEqual((1, ""), (code, out))
        self.assertEqual("harp: ValueError: it failed", err.splitlines()[-1])
        code, _, err = self.run_harp("call", "nowhere", "echo")
        said = "harp: unknown_host: the host is not known"
        self.assertEqual((1, said), (code, err.splitlines()[-1]))

    def test_json(self) -> None:
        """One object on one line, however it ended."""
        code, out, _ = self.run_harp("call", "w", "echo", "--json", out=Terminal())
        job = next(iter(self.jobs.jobs))
        self.assertEqual((0, {"job": job, "result": []}), (code, json.loads(out)))
        code, out, _ = self.run_harp("call", "w", "fail", "--json")
        self.assertEqual((1, "ValueError"), (code, json.loads(out)["exception"]["type"]))
        code, out, _ = self.run_harp("call", "w", "hang", "--no-wait", "--json")
        self.assertEqual(["job"], list(json.loads(out)))

    def test_follow(self) -> None:
        """Records as they come, one a line, then the result."""
        code, out, _ = self.run_harp("call", "w", "count", "2", "--follow")
        self.assertEqual((0, '{"i": 0}\n{"i": 1}\n"done"\n'), (code, out))
        code, out, _ = self.run_harp("call", "w", "count", "1", "--follow", "--json")
        records = [json.loads(text) for text in out.splitlines()]
        self.assertEqual({"packet": 0, "data": {"i": 0}}, records[0])
        self.assertEqual("done", records[1]["result"])

    def test_stream_without_result(self) -> None:
        """A null that nobody returned isn't shown."""
        self.serve(lambda r: [line(job_id="j") if "procedure" in r else line(result=None)])
        self.assertEqual((0, ""), self.run_harp("call", "w", "p", "--follow")[:2])
        self.assertEqual((0, "null\n"), self.run_harp("call", "w", "p")[:2])

    def test_refused(self) -> None:
        """The dispatcher's own no is a no."""
        self.serve(lambda _: [line(error={"type": "storage_error", "message": "disk full"})])
        self.assertEqual(
            (1, "", "harp: storage_error: disk full\n"), self.run_harp("call", "w", "p")
        )


class JobTests(CommandCase):
    """The commands that take a job's id."""

    def test_result(self) -> None:
        """Not yet, cancelled, and there."""
        job = self.submit("hang")
        self.assertEqual((3, "", f"harp: job {job} has not ended\n"), self.run_harp("result", job))
        code, out, _ = self.run_harp("result", job, "--json")
        self.assertEqual((3, {"job": job, "no_result": True}), (code, json.loads(out)))
        self.assertEqual((0, "cancelled\n", ""), self.run_harp("cancel", job))
        self.assertEqual(
            (1, "", f"harp: job {job} was cancelled\n"), self.run_harp("result", job, "--wait")
        )
        self.assertEqual((0, "[1]\n", ""), self.run_harp("result", self.submit("echo", "1")))

    def test_cancel_too_late(self) -> None:
        """It is a no."""
        job = self.submit("echo")
        code, out, err = self.run_harp("cancel", job)
        self.assertEqual((1, ""), (code, out))
        self.assertIn("had ended already", err)
        code, out, err = self.run_harp("cancel", job, "--json")
        self.assertEqual((1, {"job": job, "cancelled": False}, ""), (code, json.loads(out), err))

    def test_follow(self) -> None:
        """All records unless told where to begin."""
        job = self.submit("count", "3")
        for words, expected in [([], 3), (["--since", "1"], 2), (["--recent", "1"], 1)]:
            code, out, _ = self.run_harp("follow", job, *words)
            self.assertEqual((0, expected + 1), (code, len(out.splitlines())))
        self.assertEqual(2, self.run_harp("follow", job, "--since", "-1")[0])

    def test_status(self) -> None:
        """For people a line per fact, for programs one object."""
        job = self.submit("hang", "1", "--info", '"x"')
        code, out, err = self.run_harp("status", job)
        self.assertEqual((0, ""), (code, err))
        facts = dict(text.split(maxsplit=1) for text in out.splitlines())
        self.assertEqual(
            (job, "running", "web01", "hang", "[1]", '"x"', "-", "-"),
            tuple(
                facts[key]
                for key in [
                    "job",
                    "state",
                    "host",
                    "procedure",
                    "arguments",
                    "info",
                    "queue",
                    "ended",
                ]
            ),
        )
        self.assertRegex(facts["submitted"], r"^2016-02-1\d \d\d:\d\d:\d\d [-+]\d{4}$")
        code, out, _ = self.run_harp("status", job, "--json")
        self.assertEqual((0, "running"), (code, json.loads(out)["state"]))

    def test_time_beyond_all_calendars(self) -> None:
        """It is shown as the number that it is."""
        call = {"host": "h", "procedure": "p", "arguments": []}
        self.serve(lambda _: [line(call=call, time={"submit": 1e300})])
        self.assertIn("submitted  1e+300 s\n", self.run_harp("status", "j")[1])

    def test_unknown_job(self) -> None:
        """Exit code 1 for all; cancelling says what it knows."""
        for words in (["result"], ["result", "--wait"], ["follow"], ["status"]):
            code, out, err = self.run_harp(*words, "no-such-job")
            self.assertEqual(
                (1, "", "harp: invalid_jobid: no job with this id\n"), (code, out, err)
            )
        self.assertIn("no such job", self.run_harp("cancel", "no-such-job")[2])

    def test_cancel_that_is_refused(self) -> None:
        """The error is shown."""
        self.serve(lambda _: [line(error={"type": "storage_error", "message": "m"})])
        self.assertEqual((1, "", "harp: storage_error: m\n"), self.run_harp("cancel", "j"))


class OutsideTests(CommandCase):
    """What the world does to a command."""

    def test_no_dispatcher(self) -> None:
        """Exit code 2, and where it was looked for."""
        self.dispatcher.stop()
        self.assertEqual(
            (2, "", f"harp: 127.0.0.1:{self.dispatcher.port}: Connection refused\n"),
            self.run_harp("status", "j"),
        )

    def test_help_and_usage(self) -> None:
        """Help is 0 and on standard output, a mistake 2 and on standard error."""
        code, out, err = self.run_harp("--help")
        self.assertEqual((0, True, ""), (code, "exit codes:" in out, err))
        code, out, err = self.run_harp()
        self.assertEqual((2, "", True), (code, out, "usage: harp" in err))

    def interrupted(self, *pauses: BaseException | None) -> tuple[int, str]:
        """Interrupt a wait, and again while it pauses; give the exit code and the messages."""
        interrupt = threading.main_thread().ident
        assert interrupt is not None
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)

        def script(request: dict[str, Any]) -> Any:
            if "get_result" in request or "follow_stream" in request:
                signal.pthread_kill(interrupt, signal.SIGINT)
                return []
            return self.jobs(request)

        def pause(_: float) -> None:
            for error in pauses:
                if error is not None:
                    raise error

        self.serve(script)
        self.pause = pause
        code, _, err = self.run_harp("call", "w", "hang")
        return code, err

    def test_interrupt_leaves_the_job_running(self) -> None:
        """It says so, and how to cancel."""
        code, err = self.interrupted()
        job = next(iter(self.jobs.jobs))
        self.assertEqual(130, code)
        self.assertIn(f"harp: job {job} goes on; ^C again within 2 seconds cancels it\n", err)
        self.assertIsNone(self.jobs.jobs[job].ending)

    def test_second_interrupt_cancels(self) -> None:
        """The job is cancelled, and that is said."""
        code, err = self.interrupted(KeyboardInterrupt())
        job = next(iter(self.jobs.jobs))
        self.assertEqual((130, True), (code, err.endswith(f"harp: job {job} cancelled\n")))
        self.assertEqual({"cancelled": True}, self.jobs.jobs[job].ending)

    def test_second_interrupt_comes_too_late(self) -> None:
        """The job had ended by then."""
        self.jobs._cancel = lambda job: False  # type: ignore[method-assign]  # a job that ended
        _, err = self.interrupted(KeyboardInterrupt())
        self.assertIn("had ended already", err)


class ProcessTests(CommandCase):
    """The command as a process of its own."""

    def command(self, *words: str) -> list[str]:
        """Give the command line that runs ``harp``."""
        start = "import sys; from harpcaller.client.command import main; sys.exit(main())"
        return [sys.executable, "-c", start, *words]

    def environ(self) -> dict[str, str]:
        """Give the environment that it runs in."""
        return {**os.environ, "HARPCALLER": f"127.0.0.1:{self.dispatcher.port}"}

    def run_process(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            self.command(*words),
            env=self.environ(),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def test_call(self) -> None:
        """From the shell it does what it does here."""
        done = self.run_process("call", "web01", "echo", "1")
        self.assertEqual((0, "[1]\n"), (done.returncode, done.stdout))

    def test_output_is_utf8_in_any_locale(self) -> None:
        """JSON is UTF-8, so a program can read it whatever the terminal's encoding."""
        self.serve(lambda r: ['{"result":"\u20ac"}\n'.encode()])
        done = subprocess.run(
            self.command("result", "j"),
            env={**self.environ(), "PYTHONIOENCODING": "latin-1"},
            capture_output=True,
            timeout=100,
            check=False,
        )
        self.assertEqual((0, '"\u20ac"\n'.encode()), (done.returncode, done.stdout))

    def test_output_that_nobody_reads(self) -> None:
        """``harp follow ... | head`` ends quietly."""
        job = self.submit("count", "50000")
        running = subprocess.Popen(
            self.command("follow", job),
            env=self.environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert running.stdout is not None and running.stderr is not None
        self.assertEqual(b'{"i": 0}\n', running.stdout.readline())
        running.stdout.close()
        self.assertEqual((141, b""), (running.wait(60), running.stderr.read()))
        running.stderr.close()

    def test_full_disk(self) -> None:
        """It is said in one line."""
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                self.command("result", self.submit("echo")),
                env=self.environ(),
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=100,
                check=False,
            )
        self.assertEqual(
            (2, b"harp: cannot write: No space left on device\n"), (done.returncode, done.stderr)
        )

    def test_nothing_slow_is_imported(self) -> None:
        """Starting is quick: neither Twisted nor TLS is on the way."""
        check = (
            "import sys; from harpcaller.client.command import main; main(['--help']);"
            "print([m for m in ('twisted', 'ssl', 'asyncio', 'attr', 'yaml') if m in sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-S", "-c", check],
            env={**os.environ, "PYTHONPATH": str(Path(harpcaller.__file__).parents[1])},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        self.assertEqual((0, "[]"), (done.returncode, done.stdout.splitlines()[-1]))
