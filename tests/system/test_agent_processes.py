"""Template process and workers, for real: no TLS, no users, only processes."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from harpcaller.agent import template_process
from harpcaller.agent.call_process import CallProcess
from harpcaller.agent.library import NotLoading
from harpcaller.agent.orders import Load
from harpcaller.wire.ending import Failed, Raised, Returned
from harpcaller.wire.values import Raw, decode
from tests.system.agent_procedures import PROCEDURES
from tests.system.agent_processes import Events, ProcessCase, is_running, reactor

#: What an agent does to have a procedures file loaded, its other work left out.
AGENT = """
import socket, subprocess, sys
from harpcaller.agent.orders import Load, encode_line
from harpcaller.agent.template_process import COMMAND

ours, theirs = socket.socketpair()
# The shell puts it where the template looks for it, and becomes the template.
template = subprocess.Popen(
    ["sh", "-c", f'exec "$@" 3<&{theirs.fileno()}', "sh", *COMMAND], pass_fds=[theirs.fileno()]
)
theirs.close()
ours.sendall(encode_line(Load(sys.argv[1])))
template.wait()
"""


class PlainCase(ProcessCase):
    procedures = PROCEDURES


class CallTests(PlainCase):
    async def test_values_and_records(self) -> None:
        """Procedures return and stream what they should."""
        await self.load()
        self.assertEqual(3, await self.value_of("add", [1]))
        self.assertEqual(7, await self.value_of("add", {"b": 3, "a": 4}))
        _, events = self.begin("ticks", [3])
        await events.over
        self.assertEqual([{"i": 0}, {"i": 1}, {"i": 2}], events.records)
        self.assertEqual(Returned(Raw(b'"done"')), events.ending)

    async def test_large_arguments_and_results(self) -> None:
        """A megabyte goes both ways."""
        await self.load()
        text = "x" * 1_000_000
        self.assertEqual(2 * text, await self.value_of("add", [text, text]))

    async def test_call_info(self) -> None:
        """A procedure that wants to know who calls is told, and isn't by the caller."""
        await self.load()
        told = ["tester", "192.0.2.1"]
        self.assertEqual([*told, 1, "hello"], await self.value_of("who_calls"))
        self.assertEqual([*told, 2, "you"], await self.value_of("who_calls", ["you"]))
        described = self.template.procedures["who_calls"]
        self.assertEqual("(word=...)", str(described.signature))

    async def test_exception(self) -> None:
        """An exception comes with its class, and its traceback is in the log."""
        await self.load()
        self.assertEqual(
            Raised(
                "LookupError", "nothing here", Raw(b'{"class":"LookupError","module":"builtins"}')
            ),
            await self.ending_of("raises"),
        )
        self.assertIn("LookupError: nothing here", self.logged("agent.procedure_printed"))

    async def test_at_the_same_time(self) -> None:
        """Calls run beside each other."""
        await self.load()
        names = [os.path.abspath(self.mktemp()) for _ in range(4)]
        for _, events in [self.begin("meets", [one, *names]) for one in names]:
            await events.over
            self.assertEqual(Returned(Raw(b'"met"')), events.ending)

    async def test_surroundings(self) -> None:
        """A worker has a session of its own, no input, no foreign descriptors or signals."""
        await self.load()
        _ = self.begin("nap", [0.3])  # whose descriptors are in the template meanwhile
        found = await self.value_of("surroundings")
        self.assertEqual((found["pid"], found["pid"]), (found["group"], found["session"]))
        self.assertEqual("", found["stdin"])
        self.assertEqual(0, int(found["ignored"], 16) & 0x7FFFFFFF, "programs get all signals")
        self.assertEqual(1, found["threads"])
        self.assertEqual("LC_CTYPE" in os.environ, found["locale"])
        null = os.devnull
        # New versions of libffi keep their own file open, which programs don't inherit.
        descriptors = [one for one in found["descriptors"] if "libffi" not in one]
        self.assertEqual([null, "pipe", "pipe", null, "socket"], descriptors)

    async def test_broken_pipe_is_an_exception(self) -> None:
        """Writing into a closed pipe raises in a procedure, as Python people expect."""
        await self.load()
        ending = await self.ending_of("broken_pipe")
        assert isinstance(ending, Raised)
        self.assertEqual("BrokenPipeError", ending.type)

    async def test_prints(self) -> None:
        """What a procedure and its programs print is logged with the procedure's name."""
        await self.load()
        self.assertEqual("printed", await self.value_of("prints"))
        self.assertEqual(
            ["from python", "to the error output", "from a shell"],
            self.logged("agent.procedure_printed"),
        )
        contexts = [e["context"] for e in self.events if e["kind"] == "agent.procedure_printed"]
        self.assertEqual({"prints"}, {context["procedure"] for context in contexts})
        self.assertEqual(["loading"], self.logged("agent.template_printed"))

    async def test_dies_without_a_word(self) -> None:
        """How a process ended is told."""
        await self.load()
        for name, arguments, how in (
            ("leaves", [3], "ended with exit code 3 without a result"),
            ("leaves", [0], "ended with exit code 0 without a result"),
            ("dies", [], "was killed by signal 9"),
        ):
            with self.subTest(how=how):
                self.assertIsNone(await self.ending_of(name, arguments))
                self.assertEqual(f"the procedure's process {how}", self.how)

    async def test_writes_nonsense(self) -> None:
        """A process that spoils its socket is ended, and the caller is told."""
        await self.load()
        ending = await self.ending_of("nonsense")
        assert isinstance(ending, Failed)
        self.assertEqual("system_error", ending.type)
        self.assertIn("isn't a message", ending.message)

    async def test_no_descriptors(self) -> None:
        """A template without descriptors refuses calls, and serves when it has some again."""
        await self.load()
        pid = self.template._transport.pid
        assert pid is not None
        descriptors = Path(f"/proc/{pid}/fd")
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        for spare in (0, 1):  # a call comes with two
            with self.subTest(spare=spare):
                taken = 1 + max(int(one.name) for one in descriptors.iterdir())
                _ = resource.prlimit(pid, resource.RLIMIT_NOFILE, (taken + spare, before[1]))
                self.assertIsNone(await self.ending_of("add", [1]))
                self.assertEqual("no process could be started: Too many open files", self.how)
                _ = resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
                self.assertEqual(3, await self.value_of("add", [1]))
                self.assertEqual(taken - 1, max(int(one.name) for one in descriptors.iterdir()))
        self.assertEqual(0, self.deaths)

    async def test_leaves_a_child(self) -> None:
        """A forked child that keeps the socket doesn't keep the call."""
        await self.load()
        _, events = self.begin("leaves_a_child")
        await events.over
        assert isinstance(events.ending, Returned)
        child = decode(events.ending.value)
        self.assertTrue(is_running(child), "it was left on purpose")
        os.kill(child, signal.SIGKILL)


class EndTests(PlainCase):
    async def with_child(self, **options: bool) -> tuple[CallProcess, Events, list[int]]:
        await self.load()
        process, events = self.begin("with_child", options)
        await events.first_record()
        pids = events.records[0]
        self.assertTrue(all(map(is_running, pids)))
        return process, events, pids

    async def test_whole_group(self) -> None:
        """The procedure's programs end with it."""
        process, events, pids = await self.with_child()
        process.hush()
        process.end(signal.SIGTERM, 5.0)
        self.assertEqual("the procedure's process was killed by signal 15", await events.over)
        self.assertFalse(any(map(is_running, pids)))

    async def test_ignores_sigterm(self) -> None:
        """A procedure that ignores SIGTERM is killed after the grace."""
        process, events, pids = await self.with_child(ignoring=True)
        started = reactor.seconds()
        process.end(signal.SIGTERM, 0.5)
        self.assertEqual("the procedure's process was killed by signal 9", await events.over)
        self.assertGreater(reactor.seconds() - started, 0.4)
        self.assertFalse(any(map(is_running, pids)))

    async def test_child_ignores_sigterm(self) -> None:
        """A program that outlives the procedure is killed after the grace, too."""
        process, events, pids = await self.with_child(ignoring_child=True)
        process.end(signal.SIGTERM, 0.5)
        await events.over
        self.assertFalse(any(map(is_running, pids)))

    async def test_time_to_clean_up(self) -> None:
        """A procedure can catch SIGXCPU and clean up."""
        await self.load()
        process, events = self.begin("cleans_up")
        await events.first_record()
        process.end(signal.SIGXCPU, 5.0)
        self.assertEqual(
            "the procedure's process ended with exit code 0 without a result", await events.over
        )
        assert isinstance(events.ending, Raised)
        self.assertEqual("cleaned up", events.ending.message)

    async def test_waits_for_its_turn(self) -> None:
        """A process runs nothing before it may; one that never may is ended and leaves nothing."""
        await self.load()
        mark = Path(self.mktemp()).absolute()
        process, events = self.begin("marks", [str(mark)], go=False)
        given_up, given_up_events = self.begin("marks", [str(mark)], go=False)
        self.assertEqual(3, await self.value_of("add", [1]))
        given_up.hush()
        given_up.end(signal.SIGTERM, 5.0)
        await given_up_events.over
        self.assertFalse(mark.exists())
        process.go()
        await events.over
        self.assertTrue(mark.exists())

    async def test_ended_at_once(self) -> None:
        """A call that is ended right after its start leaves nothing."""
        await self.load()
        process, events = self.begin("nap", [1000])
        process.end(signal.SIGTERM, 5.0)
        await events.over

    async def test_held_back(self) -> None:
        """A procedure that streams without pause is held back, and goes on when it may."""
        await self.load()
        process, events = self.begin("endless")
        await events.first_record()
        process.pauseProducing()
        await deferLater(reactor, 0.2)
        heard = events.bytes
        await deferLater(reactor, 0.3)
        self.assertEqual(heard, events.bytes)
        process.resumeProducing()
        await deferLater(reactor, 0.2)
        self.assertGreater(events.bytes, heard)
        process.pauseProducing()
        process.hush()
        process.end(signal.SIGTERM, 5.0)
        await events.over


class EndWithoutCgroupsTests(EndTests):
    """The same, where calls have keepers."""

    cgroups = False


class CallWithoutCgroupsTests(CallTests):
    """The same, where calls have keepers."""

    cgroups = False


class TemplateTests(PlainCase):
    async def test_broken_file(self) -> None:
        """A file that doesn't load is told with its line, and its traceback is logged."""
        self.file.write_text("print('so far')\n1 / 0\n")
        with self.assertRaisesRegex(NotLoading, ":2: ZeroDivisionError: division by zero"):
            await self.load()
        await self.template.gone()
        printed = self.logged("agent.template_printed")
        self.assertEqual("so far", printed[0])
        self.assertEqual("ZeroDivisionError: division by zero", printed[-1])
        self.assertEqual(0, self.deaths)

    async def test_dies_while_loading(self) -> None:
        """A file that ends the process is an error like others."""
        self.file.write_text("import os\nos._exit(5)\n")
        with self.assertRaisesRegex(NotLoading, "ended while it loaded.*exit code 5"):
            await self.load()

    async def test_takes_too_long_to_load(self) -> None:
        """A file that never gets done is given up."""
        self.patch(template_process, "LOAD_SECONDS", 0.5)
        self.file.write_text("import time\ntime.sleep(1000)\n")
        with self.assertRaisesRegex(NotLoading, r"loading took more than 0\.5 s"):
            await self.load()
        await self.template.gone()

    async def test_given_up_while_loading(self) -> None:
        """Whoever doesn't want to wait any longer leaves no process."""
        self.file.write_text("import time\ntime.sleep(1000)\n")
        loading = Deferred.fromCoroutine(self.load())
        _ = loading.addErrback(lambda _: None)
        await deferLater(reactor, 0.2)
        loading.cancel()
        await self.template.gone()

    async def test_cannot_be_started(self) -> None:
        """A template that can't be started at all is told."""
        self.patch(template_process, "COMMAND", ("/nonexistent/python",))
        with self.assertRaises(NotLoading):
            await self.load()

    async def test_python_path(self) -> None:
        """Procedures import from the folders that the configuration names, not from ours."""
        folder = Path(self.mktemp())
        folder.mkdir()
        folder.joinpath("house_mate.py").write_text("ANSWER = 42\n")
        self.file.write_text(
            "import house_mate, sys\nfrom harpd.proc import procedure\n"
            "@procedure\ndef answer(): return [house_mate.ANSWER, '' in sys.path]\n"
        )
        await self.load(Load(str(self.file), append=[str(folder.absolute())]))
        self.assertEqual([42, False], await self.value_of("answer"))

    async def test_own_folder_on_the_path(self) -> None:
        """A procedures file called harpd.py may have its own folder on the path."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        file = folder / "harpd.py"
        file.write_text(self.procedures)
        await self.load(Load(str(file), prepend=[str(folder)]))
        self.assertEqual(3, await self.value_of("add", [1]))

    async def test_threads(self) -> None:
        """That a file starts threads, which calls won't have, is told."""
        self.file.write_text(
            "import threading, time\n"
            "threading.Thread(target=time.sleep, args=(1,), daemon=True).start()\n"
        )
        await self.load()
        kinds = [event.get("kind") for event in self.events]
        self.assertIn("agent.threads_while_loading", kinds)

    async def test_killed(self) -> None:
        """If the template is killed, its calls end, and it is told."""
        await self.load()
        _, events = self.begin("nap", [1000])
        pid = await self.forked()
        self.template.kill()
        self.template._retired = False
        self.assertEqual("the process that procedures are forked from died", await events.over)
        await self.template.gone()
        self.assertEqual(1, self.deaths)
        while is_running(pid):
            await deferLater(reactor, 0.01)
        with self.assertRaises(OSError):
            self.begin("add", [1])

    async def test_agent_dies(self) -> None:
        """When the agent is gone, the template ends all calls and itself."""
        await self.load()
        _ = self.begin("nap", [1000])
        pid = await self.forked()
        self.template._retired = True
        self.hang_up()
        await self.template.gone()
        self.assertFalse(is_running(pid))

    async def test_retired(self) -> None:
        """A template that is let go ends when its last call has ended."""
        await self.load()
        _, events = self.begin("nap", [0.3])
        self.template.retire()
        gone = self.template.gone()
        await events.over
        self.assertEqual(Returned(Raw(b"0.3")), events.ending)
        await gone
        self.assertEqual(0, self.deaths)

    async def test_talks_nonsense(self) -> None:
        """A template that doesn't speak the language is ended."""
        program = "import os, time; os.write(3, b'what?\\n'); time.sleep(1000)"
        self.patch(template_process, "COMMAND", (sys.executable, "-c", program))
        with self.assertRaises(NotLoading):
            await self.load()
        await self.template.gone()

    def kill(self, pid: int) -> None:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)

    async def test_agent_is_killed_while_loading(self) -> None:
        """A procedures file that loads for ever doesn't outlive an agent that is killed."""
        number = Path(self.mktemp()).absolute()
        self.file.write_text(
            f"import os, time\nwith open({str(number)!r} + 'new', 'w') as stream:\n"
            f"    stream.write(str(os.getpid()))\nos.rename(stream.name, {str(number)!r})\n"
            "end = time.monotonic() + 200\nwhile time.monotonic() < end:\n    time.sleep(0.1)\n"
        )
        agent = subprocess.Popen([sys.executable, "-c", AGENT, str(self.file)])
        self.addCleanup(agent.wait)
        self.addCleanup(agent.kill)
        while not number.exists():
            await deferLater(reactor, 0.02)
        template = int(number.read_text())
        self.addCleanup(self.kill, template)
        agent.kill()
        await self.until_gone(template)
