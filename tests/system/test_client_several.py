"""``harp call`` of several hosts, against a dispatcher on a real socket."""

from __future__ import annotations

import io
import json
import signal
import socket
import threading
from collections.abc import Iterable
from typing import Any, Callable

from harpcaller.client import several
from harpcaller.client.command import main
from tests.client.fake_dispatcher import Jobs, Script, Step, line
from tests.system.test_client_command import CommandCase, Terminal


class Fleet(Jobs):
    """A dispatcher that has a registry, and whose hosts can be told what to do.

    Attributes:
        hosts: The registry.
        procedures: What is listed of each host; for others there is an error.
        behaviour: What a call of procedure ``act`` ends with, by host.
        most_running: How many calls were running at most at one moment.
        on_call: Called with each call's host, before the call is answered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hosts = ["db01", "web01", "web02", "web03"]
        self.procedures: dict[str, list[dict[str, Any]]] = {}
        self.behaviour: dict[str, dict[str, Any]] = {}
        self.most_running = 0
        self.on_call: Callable[[str], object] = lambda host: None

    def __call__(self, request: dict[str, Any]) -> Iterable[Step]:
        if "list_hosts" in request:
            yield line(hosts=self.hosts)
        elif "list_procedures" in request:
            yield self._procedures_of(request["list_procedures"])
        else:
            yield from super().__call__(request)

    def _procedures_of(self, host: str) -> bytes:
        if host not in self.procedures:
            message = "the agent cannot list its procedures"
            return line(error={"type": "not_supported", "message": message})
        return line(procedures=self.procedures[host])

    def _submit(self, request: dict[str, Any]) -> bytes:
        host = request["host"]
        self.on_call(host)
        answer = super()._submit(request)
        job = self.jobs[json.loads(answer)["job_id"]]
        if request["procedure"] == "act" and host in self.behaviour:
            job.end(self.behaviour[host])
        living = [one for one in self.jobs.values() if one.ending is None]
        self.most_running = max(self.most_running, len(living))
        return answer

    def called(self) -> list[str]:
        """Give the hosts that were called, in order."""
        return [job.call["host"] for job in self.jobs.values()]


class SeveralCase(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.fleet = self.jobs = Fleet()
        self.dispatcher.stop()
        self.serve(self.fleet)

    def serve(self, script: Script) -> None:
        """Start the dispatcher; at the end nobody waits there for a job any longer."""
        super().serve(script)
        self.addCleanup(self.let_go)

    def let_go(self) -> None:
        for job in self.jobs.jobs.values():
            job.ended.set()


class SeveralTests(SeveralCase):
    """What is called, what is printed, what is the exit code."""

    def test_pattern(self) -> None:
        """Each host of the registry that fits is called, and has a line."""
        code, out, err = self.run_harp("call", "web*", "echo", "1")
        self.assertEqual((0, "harp: 3 hosts: 3 succeeded\n"), (code, err))
        self.assertEqual(
            ["web01  ok           [1]", "web02  ok           [1]", "web03  ok           [1]"],
            sorted(out.splitlines()),
        )

    def test_list_needs_no_registry(self) -> None:
        """Nor does it have to know these names."""
        code, out, _ = self.run_harp("call", "web01,elsewhere", "echo")
        self.assertEqual((0, 2), (code, len(out.splitlines())))
        self.assertNotIn("list_hosts", self.dispatcher.requests[0])

    def test_one_host_with_batch(self) -> None:
        """It's written as for several."""
        code, out, _ = self.run_harp("call", "web01", "echo", "--batch", "1")
        self.assertEqual((0, "web01  ok           []\n"), (code, out))

    def test_endings(self) -> None:
        """Each in a word, and what there is to say, on one line."""
        told = {"type": "ValueError", "message": "two\nlines"}
        self.fleet.behaviour = {
            "db01": {"result": None},
            "web01": {"exception": told},
            "web02": {"error": {"type": "timeout", "message": "too long"}},
            "web03": {"cancelled": True},
        }
        code, out, err = self.run_harp("call", "*", "act", "--batch", "1")
        self.assertEqual(1, code)
        self.assertEqual(
            [
                "db01   ok",
                "web01  failed       ValueError: two\\u000alines",
                "web02  failed       timeout: too long",
                "web03  cancelled",
            ],
            out.splitlines(),
        )
        self.assertEqual("harp: 4 hosts: 1 succeeded, 3 failed (web01, web02, web03)\n", err)

    def test_json(self) -> None:
        """An object for each, for programs."""
        self.fleet.behaviour = {
            "db01": {"result": 1},
            "web01": {"exception": {"type": "E", "message": "m"}},
        }
        words = ("call", "*", "act", "--json", "--batch", "1", "--max-failures", "1")
        code, out, _ = self.run_harp(*words)
        found = [json.loads(text) for text in out.splitlines()]
        jobs = list(self.fleet.jobs)
        expected = [
            {"host": "db01", "job": jobs[0], "result": 1},
            {"host": "web01", "job": jobs[1], "exception": {"type": "E", "message": "m"}},
            {"host": "web02", "not_started": True},
            {"host": "web03", "not_started": True},
        ]
        self.assertEqual((1, expected), (code, found))

    def test_max_failures(self) -> None:
        """No more are called; those that weren't are named."""
        code, out, err = self.run_harp("call", "*", "fail", "--batch", "1", "--max-failures", "2")
        self.assertEqual((1, ["db01", "web01"]), (code, self.fleet.called()))
        self.assertEqual(["web02  not-started", "web03  not-started"], out.splitlines()[2:])
        self.assertIn("2 failed (db01, web01), 2 not started", err)

    def test_batch(self) -> None:
        """Never more than that many run; each that ends makes room for one."""
        self.fleet.hosts = [f"h{number:02}" for number in range(12)]

        finished = threading.Event()

        def end_them() -> None:
            ended = 0
            while ended < 12 and not finished.wait(0.01):
                living = [job for job in list(self.fleet.jobs.values()) if job.ending is None]
                if len(living) == 3 or (living and len(self.fleet.jobs) == 12):
                    living[0].end({"result": 1})
                    ended += 1

        ender = threading.Thread(target=end_them)
        ender.start()
        self.addCleanup(ender.join)
        self.addCleanup(finished.set)
        code, out, _ = self.run_harp("call", "*", "hang", "--batch", "3")
        self.assertEqual((0, 12, 3), (code, len(out.splitlines()), self.fleet.most_running))

    def test_without_batch_all_at_once(self) -> None:
        """None waits for another."""
        self.fleet.hosts = [f"h{number:02}" for number in range(40)]

        def end_all(_host: str) -> None:
            if len(self.fleet.jobs) == 39:
                threading.Timer(0.1, self.end_all).start()

        self.fleet.on_call = end_all
        self.assertEqual(0, self.run_harp("call", "*", "hang")[0])
        self.assertEqual(40, self.fleet.most_running)

    def end_all(self) -> None:
        for job in self.fleet.jobs.values():
            job.end({"result": 1})

    def test_follow(self) -> None:
        """Records come as they are said, each with its host."""
        code, out, _ = self.run_harp("call", "web01,web02", "count", "2", "--follow")
        lines = out.splitlines()
        self.assertEqual((0, 6), (code, len(lines)))
        for host in ("web01", "web02"):
            said = [text for text in lines if text.startswith(host)]
            ended = f'{host}  ok           "done"'
            self.assertEqual([f'{host}  {{"i": 0}}', f'{host}  {{"i": 1}}', ended], said)

    def test_follow_for_programs(self) -> None:
        """Records as objects, with host and job."""
        code, out, _ = self.run_harp("call", "web01,", "count", "1", "--follow", "--json")
        self.assertEqual((2, ""), (code, out))
        words = ("call", "web01", "count", "1", "--follow", "--json", "--batch", "1")
        code, out, _ = self.run_harp(*words)
        (job,) = self.fleet.jobs
        self.assertEqual(
            [
                {"host": "web01", "job": job, "packet": 0, "data": {"i": 0}},
                {"host": "web01", "job": job, "result": "done"},
            ],
            [json.loads(text) for text in out.splitlines()],
        )

    def test_time_of_records(self) -> None:
        """It is passed on, from a dispatcher that tells."""
        told = [line(packet=0, data=1, time=1455282411.5), line(result=2)]
        self.serve(lambda r: [line(job_id="j")] if "procedure" in r else told)
        words = ("call", "a", "p", "--follow", "--json", "--batch", "1")
        first = json.loads(self.run_harp(*words)[1].splitlines()[0])
        self.assertEqual(1455282411.5, first["time"])

    def test_no_wait(self) -> None:
        """Hosts and jobs, and that's it; some may be refused."""
        code, out, err = self.run_harp("call", "web*", "hang", "--no-wait")
        expected = [
            f"{host} {job}"
            for host, job in zip(["web01", "web02", "web03"], self.fleet.jobs, strict=True)
        ]
        self.assertEqual((0, expected, ""), (code, out.splitlines(), err))
        code, out, _ = self.run_harp("call", "web01,web02", "hang", "--no-wait", "--json")
        self.assertEqual([{"host", "job"}] * 2, [set(json.loads(it)) for it in out.splitlines()])

        def full(request: dict[str, Any]) -> list[Step]:
            if request["host"] == "b":
                return [line(error={"type": "storage_error", "message": "disk full"})]
            return [line(job_id="j")]

        self.serve(full)
        self.assertEqual(
            (1, "a j\nc j\n", "harp: b: storage_error: disk full\n"),
            self.run_harp("call", "a,b,c", "p", "--no-wait"),
        )

    def test_options_that_make_no_sense(self) -> None:
        """Nothing is called."""
        for words, said in [
            (["web*", "p", "--batch", "2", "--no-wait"], "mean nothing with --no-wait"),
            (["web01", "p", "--batch", "0"], "expected a positive number, got '0'"),
            (["web01", "p", "--max-failures", "x"], "expected a positive number, got 'x'"),
            (["mail*", "p"], "no host in the registry fits 'mail*'"),
            (["web*,", "p"], "missing around a comma"),
            (["web*", "p", "a=1", "a=2"], "stands twice"),
        ]:
            code, out, err = self.run_harp("call", *words)
            self.assertEqual((2, ""), (code, out))
            self.assertIn(said, err)
        self.assertEqual({}, self.fleet.jobs)

    def test_registry_that_cannot_be_had(self) -> None:
        """A dispatcher of old: its own words, and nothing is called."""
        refusal = {"type": "invalid_request", "message": "no operation"}
        self.serve(lambda _: [line(error=refusal)])
        self.assertEqual(
            (1, "", "harp: invalid_request: no operation\n"), self.run_harp("call", "*", "p")
        )


class TerminalTests(SeveralCase):
    """Where somebody looks on."""

    def look(self, *words: str, **environ: str) -> tuple[str, str]:
        """Run it on a terminal; give what was written to it, and to its messages."""
        out, err = Terminal(), Terminal()
        variables = {"HARPCALLER": f"127.0.0.1:{self.dispatcher.port}", **environ}
        main(words, out, err, variables, self.pause)
        return out.getvalue(), err.getvalue()

    def test_colours(self) -> None:
        """Of the word, unless NO_COLOR is set."""
        self.assertEqual(
            "a  \x1b[32mok         \x1b[0m  []\n", self.look("call", "a", "echo", "--batch", "1")[0]
        )
        plain = self.look("call", "a", "echo", "--batch", "1", NO_COLOR="1")[0]
        self.assertEqual("a  ok           []\n", plain)

    def test_bar(self) -> None:
        """It is erased before anything else is written, and gone at the end."""
        _, err = self.look("call", "a,b", "echo", "--batch", "1")
        self.assertIn(f"[{'.' * 24}] 0/2", err)
        self.assertIn(f"\r\x1b[K[{'#' * 12}{'.' * 12}] 1/2", err)
        self.assertTrue(err.endswith("\r\x1b[Kharp: 2 hosts: 2 succeeded\n"), err)

    def test_no_bar(self) -> None:
        """For programs, and on a terminal that can't erase."""
        for words, environ in [(["--json"], {}), ([], {"TERM": "dumb"})]:
            out, err = self.look("call", "a,b", "echo", *words, **environ)
            self.assertEqual("harp: 2 hosts: 2 succeeded\n", err)
            self.assertNotIn("\x1b", out)

    def test_what_could_disturb_a_terminal(self) -> None:
        """Results and hosts' names are shown with escapes."""
        self.fleet.hosts = ["a\x1b[2J", "b"]
        self.fleet.behaviour = {"b": {"result": 1}, "a\x1b[2J": {"result": 1}}
        out, _ = self.look("call", "*", "act", NO_COLOR="1")
        self.assertIn("a\\u001b[2J", out)
        self.serve(
            lambda r: [line(job_id="j") if "procedure" in r else b'{"result":"\xc2\x9b2J"}\n']
        )
        self.assertIn('"\\u009b2J"', self.look("call", "a,b", "p", NO_COLOR="1")[0])


class TroubleTests(SeveralCase):
    """What the world does to it."""

    def test_no_dispatcher(self) -> None:
        """Exit code 2, as for one host."""
        self.dispatcher.stop()
        for hosts in ("web*", "a,b"):
            code, out, err = self.run_harp("call", hosts, "p")
            self.assertEqual((2, ""), (code, out))
            self.assertIn("Connection refused", err)

    def test_no_dispatcher_any_more(self) -> None:
        """Those that run are waited for, in vain; the others aren't tried one by one."""

        def stop(host: str) -> None:
            if host == "web01":
                self.dispatcher._listener.shutdown(socket.SHUT_RDWR)
                self.dispatcher.hang_up()

        self.fleet.on_call = stop
        code, out, err = self.run_harp("call", "*", "hang", "--batch", "2")
        self.assertEqual(1, code)
        lines = sorted(out.splitlines())
        self.assertEqual(4, len(lines), out)
        for host, text in zip(self.fleet.hosts, lines, strict=True):
            failed = host in ("db01", "web01")
            word = "failed       communication_error: " if failed else "not-started"
            self.assertIn(f"{host:<5}  {word}", text)
        self.assertIn("4 hosts: 0 succeeded, 2 failed", err)

    def test_no_thread(self) -> None:
        """A host whose job nobody can wait for has its line, too."""

        class Unstartable:
            def __init__(self, **_: object) -> None:
                pass

            def start(self) -> None:
                raise RuntimeError("can't start new thread")

        class NoThreads:
            Thread = Unstartable

        self.patch(several, "threading", NoThreads)
        code, out, _ = self.run_harp("call", "a", "echo", "--batch", "1")
        said = "a  failed       communication_error: the system has no thread to wait for it\n"
        self.assertEqual((1, said), (code, out))

    def test_refused_calls(self) -> None:
        """They count as failures; there is no job."""
        refusal = {"type": "storage_error", "message": "disk full"}
        self.serve(lambda _: [line(error=refusal)])
        code, out, _ = self.run_harp("call", "a,b", "p", "--max-failures", "1", "--batch", "1")
        self.assertEqual(
            (1, ["a  failed       storage_error: disk full", "b  not-started"]),
            (code, out.splitlines()),
        )
        code, out, _ = self.run_harp("call", "a", "p", "--batch", "1", "--json")
        self.assertEqual({"host": "a", "error": refusal}, json.loads(out))

    def test_no_wait_breaks_off(self) -> None:
        """It says from where on nobody was called."""

        def stop(host: str) -> None:
            if host == "b":
                self.dispatcher._listener.shutdown(socket.SHUT_RDWR)
                self.dispatcher.hang_up()

        self.fleet.on_call = stop
        code, out, err = self.run_harp("call", "a,b,c", "hang", "--no-wait")
        self.assertEqual((2, 1), (code, len(out.splitlines())))
        self.assertIn("harp: 2 of 3 hosts were not called, from b on\n", err)


class InterruptCase(SeveralCase):
    """Tests that press ^C."""

    def setUp(self) -> None:
        super().setUp()
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        self.pauses: list[BaseException] = []
        self.pause = self.paused

    def paused(self, _: float) -> None:
        if self.pauses:
            raise self.pauses.pop()

    def press(self) -> None:
        """Press ^C."""
        main_thread = threading.main_thread().ident
        assert main_thread is not None
        signal.pthread_kill(main_thread, signal.SIGINT)


class InterruptTests(InterruptCase):
    """^C in a call of several hosts."""

    def press_when_running(self, count: int) -> None:
        """Press ^C as soon as so many results are waited for."""
        waited: list[str] = []

        def script(request: dict[str, Any]) -> Iterable[Step]:
            if "get_result" in request:
                waited.append(request["get_result"])
                if len(waited) == count:
                    threading.Timer(0.05, self.press).start()
            return self.fleet(request)

        self.serve(script)

    def test_once(self) -> None:
        """Those that run go on, and it says so; no more are called."""
        self.press_when_running(2)
        code, out, err = self.run_harp("call", "*", "hang", "--batch", "2")
        self.assertEqual((130, ["db01", "web01"]), (code, self.fleet.called()))
        jobs = list(self.fleet.jobs)
        self.assertEqual(
            [
                f"db01   running      job {jobs[0]}",
                f"web01  running      job {jobs[1]}",
                "web02  not-started",
                "web03  not-started",
            ],
            out.splitlines(),
        )
        self.assertIn("4 hosts: 0 succeeded, 2 running, 2 not started\n", err)
        self.assertIn("the running jobs go on; ^C again within 2 seconds cancels them\n", err)
        self.assertEqual([None, None], [job.ending for job in self.fleet.jobs.values()])

    def test_twice(self) -> None:
        """Those that run are cancelled, each is told."""
        self.pauses = [KeyboardInterrupt()]
        self.press_when_running(2)
        code, out, err = self.run_harp("call", "*", "hang", "--batch", "2", "--json")
        self.assertEqual(130, code)
        for host, (job_id, job) in zip(["db01", "web01"], self.fleet.jobs.items(), strict=True):
            self.assertEqual({"cancelled": True}, job.ending)
            self.assertIn(f"harp: {host}: job {job_id} cancelled\n", err)
            self.assertIn({"host": host, "job": job_id, "no_result": True}, self.objects(out))
        self.assertIn({"host": "web02", "not_started": True}, self.objects(out))

    def objects(self, out: str) -> list[Any]:
        return [json.loads(text) for text in out.splitlines()]

    def test_between_submission_and_answer(self) -> None:
        """The job's id is waited for, and told."""
        self.fleet.on_call = lambda host: self.press() if host == "web01" else None
        code, out, err = self.run_harp("call", "*", "hang", "--batch", "2")
        self.assertEqual((130, ["db01", "web01"]), (code, self.fleet.called()))
        for job_id in self.fleet.jobs:
            self.assertIn(f"running      job {job_id}\n", out)
        self.assertIn("waiting for the job's id", err)

    def test_twice_between_submission_and_answer(self) -> None:
        """That one's id stays unknown; the others' don't."""
        held = threading.Event()

        def script(request: dict[str, Any]) -> Iterable[Step]:
            if request.get("host") == "web01":
                self.press()
                threading.Timer(0.1, self.press).start()
                return [held]
            return self.fleet(request)

        self.serve(script)
        self.addCleanup(held.set)
        code, out, _ = self.run_harp("call", "*", "hang", "--batch", "2")
        (job_id,) = self.fleet.jobs
        self.assertEqual(130, code)
        self.assertIn(f"db01   running      job {job_id}\n", out)
        self.assertIn("web01  running      if it was submitted\n", out)

    def test_no_wait(self) -> None:
        """The ids so far are printed, and how many weren't called."""
        self.fleet.on_call = lambda host: self.press() if host == "web01" else None
        code, out, err = self.run_harp("call", "*", "hang", "--no-wait")
        self.assertEqual((130, 2), (code, len(out.splitlines())))
        self.assertIn("2 of 4 hosts were not called, from web02 on\n", err)


class SingleInterruptTests(InterruptCase):
    """^C in the instant between submission and answer, of one host's call."""

    def test_between_submission_and_answer(self) -> None:
        """The job goes on, and its id is told."""
        self.fleet.on_call = lambda _: self.press()
        code, _, err = self.run_harp("call", "web01", "hang")
        ((job_id, job),) = self.fleet.jobs.items()
        self.assertEqual((130, None), (code, job.ending))
        self.assertIn(f"harp: job {job_id} goes on; ^C again within 2 seconds cancels it\n", err)

    def test_and_once_more(self) -> None:
        """It is cancelled."""
        self.fleet.on_call = lambda _: self.press()
        self.pauses = [KeyboardInterrupt()]
        code, _, err = self.run_harp("call", "web01", "hang")
        ((job_id, job),) = self.fleet.jobs.items()
        self.assertEqual((130, {"cancelled": True}), (code, job.ending))
        self.assertIn(f"harp: job {job_id} cancelled\n", err)

    def test_twice_between_submission_and_answer(self) -> None:
        """It isn't waited for; nobody knows."""
        held = threading.Event()

        def script(request: dict[str, Any]) -> Iterable[Step]:
            self.press()
            threading.Timer(0.1, self.press).start()
            return [held]

        self.serve(script)
        self.addCleanup(held.set)
        code, _, err = self.run_harp("call", "web01", "hang")
        self.assertEqual(130, code)
        self.assertIn("harp: given up; the job may have been submitted\n", err)

    def test_without_waiting(self) -> None:
        """The id is printed all the same."""
        self.fleet.on_call = lambda _: self.press()
        code, out, _ = self.run_harp("call", "web01", "hang", "--no-wait")
        self.assertEqual((130, list(self.fleet.jobs)), (code, out.split()))


class InventoryTests(SeveralCase):
    """``harp hosts`` and ``harp procedures``."""

    def test_hosts(self) -> None:
        """All, or those that fit."""
        self.assertEqual((0, "db01\nweb01\nweb02\nweb03\n", ""), self.run_harp("hosts"))
        self.assertEqual("web01\nweb02\nweb03\n", self.run_harp("hosts", "web*")[1])
        self.assertEqual("web01\ndb01\n", self.run_harp("hosts", "web01,nix,db*")[1])
        for hosts in ("mail*", "mail01"):
            said = f"harp: no host in the registry fits '{hosts}'\n"
            self.assertEqual((2, "", said), self.run_harp("hosts", hosts))

    def test_hosts_for_programs(self) -> None:
        """An object for each."""
        self.assertEqual('{"host":"db01"}\n', self.run_harp("hosts", "db*", "--json")[1])

    def test_procedures(self) -> None:
        """What they are called by, what they take, and what they do."""
        self.fleet.procedures["web01"] = [
            {"name": "ticks", "signature": "(n)", "doc": "", "streaming": True},
            {
                "name": "restart",
                "signature": "(service)",
                "doc": "\nRestart\x1b it.\n\nAt once.",
                "streaming": False,
            },
            {"name": "x" * 60, "signature": "()", "doc": "Long.", "streaming": False},
        ]
        self.assertEqual(
            (
                0,
                "ticks(n)          stream\n"
                "restart(service)          Restart\\u001b it.\n"
                f"{'x' * 60}()          Long.\n",
                "",
            ),
            self.run_harp("procedures", "web01"),
        )
        self.assertEqual(
            "ticks\t(n)\t", self.run_harp("procedures", "web01", "--tabs")[1].splitlines()[0]
        )
        first = self.run_harp("procedures", "web01", "--json")[1].splitlines()[0]
        self.assertEqual(self.fleet.procedures["web01"][0], json.loads(first))

    def test_no_streaming_procedures(self) -> None:
        """Then there's no column for it."""
        self.fleet.procedures["web01"] = [
            {"name": "p", "signature": "()", "doc": "Do.", "streaming": False}
        ]
        self.assertEqual("p()  Do.\n", self.run_harp("procedures", "web01")[1])
        self.fleet.procedures["web01"] = []
        self.assertEqual((0, "", ""), self.run_harp("procedures", "web01"))

    def test_procedures_that_cannot_be_had(self) -> None:
        """It is said why."""
        self.assertEqual(
            (1, "", "harp: not_supported: the agent cannot list its procedures\n"),
            self.run_harp("procedures", "db01"),
        )

    def test_completion(self) -> None:
        """A script, whatever it is printed on; other shells are refused."""
        for shell in ("bash", "zsh", "fish"):
            code, out, err = self.run_harp("completion", shell, out=io.StringIO())
            self.assertEqual((0, ""), (code, err))
            self.assertIn(f"harp completion {shell}", out)
        self.assertEqual(2, self.run_harp("completion", "csh")[0])
