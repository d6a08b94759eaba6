"""supervise's door and loop, for real: what a child gets, who is reaped, what is survived."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import TestCase

from harpcaller.supervise.messages import reason
from harpcaller.supervise.spawn.door import Door, Program
from tests.system.supervise_trees import TreeCase, is_running


class DoorTests(TestCase):
    timeout = 120

    def output_of(self, *argv: bytes, code: int = 0, **more: object) -> str:
        """Start a program, its output and error output in a file; gives what they were."""
        with tempfile.TemporaryFile() as file:
            descriptors = {1: file.fileno(), 2: file.fileno()}
            descriptors.update(more.pop("descriptors", {}))  # type: ignore[call-overload]  # mixed
            program = Program(argv, descriptors=descriptors)._replace(**more)  # type: ignore[arg-type]  # mixed
            pid = Door(reason).start(program)
            _, status = os.waitpid(pid, 0)
            file.seek(0)
            self.assertEqual(code, os.waitstatus_to_exitcode(status))
            return file.read().decode()

    def test_descriptors_may_cross(self) -> None:
        """One's target may be another's source."""
        with tempfile.TemporaryFile() as one, tempfile.TemporaryFile() as other:
            one.write(b"one")
            other.write(b"other")
            for file in (one, other):
                file.seek(0)
            a, b = one.fileno(), other.fileno()
            script = f"cat /proc/self/fd/{a} /proc/self/fd/{b}".encode()
            output = self.output_of(b"/bin/sh", b"-c", script, descriptors={a: b, b: a})
            self.assertEqual("otherone", output)

    def test_environment_session_and_folder(self) -> None:
        """As asked for, and nothing else changes."""
        folder = os.open("/", os.O_RDONLY)
        self.addCleanup(os.close, folder)
        os.environ["HARPSV_GONE"] = "there"
        self.addCleanup(os.environ.pop, "HARPSV_GONE")
        output = self.output_of(
            b"/bin/sh",
            b"-c",
            b'pwd; echo "$NEW-${HARPSV_GONE-gone}"; cut -d" " -f6 /proc/$$/stat; echo $$',
            folder=folder,
            environment={b"NEW": b"new", b"HARPSV_GONE": None},
            own_session=True,
        ).split()
        self.assertEqual(["/", "new-gone"], output[:2])
        self.assertEqual(output[2], output[3])

    def test_what_cannot_be_run(self) -> None:
        """The child says why in daemontools' words, and exits with 111."""
        said = self.output_of(b"/missing", complaint=b"tool: fatal: unable to run it", code=111)
        self.assertEqual("tool: fatal: unable to run it: file does not exist\n", said)

    def test_what_cannot_be_thought_of(self) -> None:
        """Whatever goes wrong in the child, there is no second supervisor."""
        said = self.output_of(b"/bin/sh", b"a\0b", complaint=b"oh", code=111)
        self.assertTrue(said.startswith("oh: ValueError("), said)

    def test_full_process_table(self) -> None:
        """The parent gets the system's answer, and its signals are as before."""
        script = (
            "import os, resource, signal\n"
            "from harpcaller.supervise.spawn.door import Door, Program\n"
            "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
            "resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))\n"
            "try:\n"
            "    Door(str).start(Program([b'/bin/true']))\n"
            "except OSError as error:\n"
            "    print(error.errno, signal.pthread_sigmask(signal.SIG_BLOCK, ()))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
            cwd=Path(__file__).resolve().parents[2],
        )
        self.assertEqual(f"{errno.EAGAIN} set()\n", done.stdout)


class LoopTests(TestCase):
    timeout = 120

    def run_script(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a program with a loop; signals belong to a process, and this one has its own."""
        head = (
            "import os, signal, time\n"
            "from harpcaller.supervise.tools.loop import Loop\n"
            "loop = Loop(time.monotonic, lambda line: print('warned', line.splitlines()[-1]))\n"
        )
        return subprocess.run(
            [sys.executable, "-c", head + script],
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
            cwd=Path(__file__).resolve().parents[2],
        )

    def test_a_bug_stops_nobody_else(self) -> None:
        """What goes wrong in one callback is told, and the others are called."""
        done = self.run_script(
            "now = time.monotonic()\n"
            "loop.at(now + 0.02, loop.stop)\n"
            "loop.at(now, lambda: 1 / 0)\n"
            "loop.at(now + 0.01, lambda: print('called'))\n"
            "off = loop.at(now, lambda: print('never')); off.cancel(); off.cancel()\n"
            "loop.run(); loop.close()\n"
        )
        self.assertEqual("warned ZeroDivisionError: division by zero\ncalled\n", done.stdout)

    def test_no_memory_stops_nothing(self) -> None:
        """Where it is missing, in a callback or between them, that is told and the rest goes on."""
        done = self.run_script(
            "def fail(): raise MemoryError\n"
            "def clock():\n"
            "    loop.clock = time.monotonic\n"
            "    raise MemoryError\n"
            "now = time.monotonic()\n"
            "loop.at(now, fail)\n"
            "loop.at(now + 0.01, lambda: print('called'))\n"
            "loop.at(now + 0.02, loop.stop)\n"
            "loop.clock = clock\n"
            "loop.run(); loop.close()\n"
        )
        self.assertEqual("warned out of memory, pausing\n" * 2 + "called\n", done.stdout)

    def test_memory_that_stays_away(self) -> None:
        """It is waited for, but not for ever: then the loop does what it can."""
        done = self.run_script(
            "import resource\n"
            "from pathlib import Path\n"
            "limits = resource.getrlimit(resource.RLIMIT_AS)\n"
            "def give(): resource.setrlimit(resource.RLIMIT_AS, limits)\n"
            "now = time.monotonic()\n"
            "loop.at(now, give)\n"
            "loop.at(now, loop.stop)\n"
            "size = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
            "resource.setrlimit(resource.RLIMIT_AS, (size, limits[1]))\n"
            "loop.run(); loop.close()\n"
            "print('waited' if time.monotonic() - now < 60 else 'too long')\n"
        )
        words = ["warned out of memory, pausing"] * 5
        self.assertEqual([*words, "waited"], done.stdout.splitlines())

    def test_children_strangers_and_signals(self) -> None:
        """Each child's end is told to who waits for it; a stranger's is nobody's business."""
        done = self.run_script(
            "def child(code, number=0):\n"
            "    pid = os.fork()\n"
            "    if pid == 0:\n"
            "        if number: os.kill(os.getpid(), number)\n"
            "        os._exit(code)\n"
            "    return pid\n"
            "seen = []\n"
            "def ended(ending):\n"
            "    seen.append(tuple(ending))\n"
            "    if len(seen) == 2: os.kill(os.getpid(), signal.SIGTERM)\n"
            "loop.on_signal(signal.SIGTERM, loop.stop)\n"
            # It has died when the loop begins, or the end of the others could come first.
            "os.waitid(os.P_PID, child(5), os.WEXITED | os.WNOWAIT)\n"
            "loop.on_exit(child(3), ended)\n"
            "loop.on_exit(child(0, signal.SIGALRM), ended)\n"
            "loop.run(); loop.close()\n"
            "print(sorted(seen, key=str))\n"
            "try: os.waitpid(-1, 0)\n"
            "except ChildProcessError: print('nobody left')\n"
        )
        self.assertEqual(f"[(3, None), (None, {int(signal.SIGALRM)})]\nnobody left\n", done.stdout)


class StrangersTests(TreeCase):
    def test_orphans_are_reaped(self) -> None:
        """As process 1 of a container, svscan reaps whoever is left to it."""
        self.service("it", "(sleep 0.1 & echo $! >orphan); exec sleep 1000")
        # Whoever adopts orphans stays that over exec.
        adopt = (
            "import ctypes, os, sys\n"
            "ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n"
            "os.execv(sys.argv[1], sys.argv[1:])\n"
        )
        svscan = self.start(sys.executable, "-c", adopt, f"{self.ours}/svscan", str(self.services))
        orphan = self.services / "it" / "orphan"
        self.until(lambda: orphan.exists() and orphan.read_text().endswith("\n"), "the orphan")
        pid = int(orphan.read_text())
        self.until(lambda: not os.path.exists(f"/proc/{pid}"), "its end, not as a zombie")
        self.assertTrue(is_running(self.pid("it")))
        svscan.terminate()
        self.assertEqual(0, self.ends(svscan))


class SmallToolsTests(TreeCase):
    def test_readproctitle_shows_what_is_read(self) -> None:
        """Where ps shows arguments; the first three places stay dots, NUL is left out."""
        process = subprocess.Popen(
            [f"{self.ours}/readproctitle", "errors:", "." * 20],
            stdin=subprocess.PIPE,
            env=self.environment(),
        )
        self._started.append(process)
        assert process.stdin is not None
        process.stdin.write(b"x" * 30 + b"it\0 failed")
        process.stdin.flush()
        command = Path(f"/proc/{process.pid}/cmdline")
        expected = b"errors:\0..." + b"x" * 8 + b"it failed\0"
        self.until(lambda: command.read_bytes().endswith(expected), "the words")
        process.stdin.close()
        self.assertEqual(0, self.ends(process))

    def test_svscanboot_begins_it_all(self) -> None:
        """Services get a PATH and nothing else; complaints are shown where ps looks."""
        folder = self.service("it", "env >env.new; mv env.new env; exec sleep 1000", backoff="bad")
        boot = self.start(f"{self.ours}/svscanboot", str(self.services))
        env = folder / "env"
        self.until(env.exists, "the service")
        names = {line.split("=")[0] for line in env.read_text().splitlines()}
        self.assertLessEqual(names, {"PATH", "PWD", "_", "SHLVL", "OLDPWD", "LC_CTYPE"})

        def complaint() -> bool:
            children = Path(f"/proc/{boot.pid}/task/{boot.pid}/children").read_text().split()
            lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children]
            return any(b"it/backoff: found" in line for line in lines)

        self.until(complaint, "the complaint")
        pid = self.pid("it")
        boot.terminate()
        self.assertEqual(0, self.ends(boot))
        self.assertFalse(is_running(pid))
