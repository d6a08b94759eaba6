"""Services kept up for real: restarts, readiness, needs, alarms, time-outs, logs, the end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.system.supervise_trees import SLEEPS, TreeCase, is_running


class LifeTests(TreeCase):
    def test_comes_back_after_a_death(self) -> None:
        """Killed by whomever, it is started again; svc -o and -d are obeyed."""
        self.service("it")
        self.svscan("it")
        first = self.pid("it")
        # Long enough to be started again at once.
        self.until(lambda: self.status("it")["state_seconds"] > 1.2, "a second")
        killed_at = time.clock_gettime(time.CLOCK_BOOTTIME)
        os.kill(first, signal.SIGKILL)
        self.until(lambda: self.pid("it") != first, "another process")
        up_for = self.status("it")["state_seconds"]
        self.assertLess(up_for, time.clock_gettime(time.CLOCK_BOOTTIME) - killed_at)
        self.svc("-o", "it")
        self.svc("-k", "-wd", "it")
        self.assertEqual("once", self.status("it")["want"])
        self.assertEqual("SIGKILL", self.status("it")["signal"])

    def test_down_file_keeps_it_down(self) -> None:
        """What is normally down waits for a word."""
        self.service("it", down="")
        self.svscan("it")
        self.assertEqual("down", self.until_state("it", "down")["want"])
        self.svc("-u", "-wu", "it")
        self.assertEqual("down", self.status("it")["normally"])

    def test_missing_run_script_is_told_each_second(self) -> None:
        """As in the original: an ordinary death, with the reason on standard error."""
        self.service("it")
        (self.services / "it" / "run").unlink()
        self.svscan("it")
        words = "supervise: fatal: unable to start it/run: file does not exist\n"
        self.until(lambda: self.complaints().count(words) >= 2, "two complaints")
        self.assertEqual(111, self.status("it")["exit"])

    def test_what_a_service_gets(self) -> None:
        """Signals by default and none blocked, no descriptor of ours, nothing of Python's."""
        folder = self.service("it", "env >env; >done; exec sleep 1000")
        environment = {"LC_ALL": "", "LANG": "", "LC_CTYPE": ""}
        self.start(f"{self.ours}/svscan", str(self.services), more=environment)
        self.until(lambda: (folder / "done").exists(), "the script")
        pid = self.pid("it")
        self.until(lambda: b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes(), "sleep")
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(("SigBlk", "SigIgn")):
                # Those two are the C library's own, and ignored by what posix_spawn(3) starts.
                signals = int(line.split()[1], 16) & ~(0b11 << 31)
                self.assertEqual(0, signals, line)
        self.assertEqual({"0", "1", "2"}, set(os.listdir(f"/proc/{pid}/fd")))
        self.assertEqual(str(folder), os.readlink(f"/proc/{pid}/cwd"))
        limits = Path(f"/proc/{pid}/limits").read_text()
        self.assertEqual(
            Path("/proc/self/limits").read_text().splitlines()[7], limits.splitlines()[7]
        )
        variables = (folder / "env").read_text().splitlines()
        self.assertIn("LC_CTYPE=", variables)
        self.assertEqual([], [line for line in variables if line.startswith("NOTIFY_SOCKET")])

    def test_closed_standard_descriptors(self) -> None:
        """Started without any, svscan doesn't give services its own files for theirs."""
        self.service("it")
        command = f'exec "{self.ours}/svscan" "{self.services}" <&- >&- 2>&-'
        self.start("/bin/sh", "-c", command)
        pid = self.pid("it")
        self.until(lambda: b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes(), "sleep")
        links = {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)}
        self.assertEqual({"/dev/null"}, links)

    def test_renamed_folder_is_still_known(self) -> None:
        """The service is where its directory is, whatever that is called."""
        elsewhere = self.folder / "elsewhere"
        self.service("it").rename(elsewhere)
        (self.services / "it").symlink_to(elsewhere)
        self.svscan("it")
        pid = self.pid("it")
        moved = self.folder / "moved"
        elsewhere.rename(moved)
        self.svc("-t", str(moved))
        self.until(lambda: self.status(str(moved))["pid"] not in (None, pid), "another process")


class OwnWishesTests(TreeCase):
    """The files that the original doesn't look at."""

    def test_newline_says_ready(self) -> None:
        """notification-fd, as s6 has it; svc -wU waits for it."""
        self.service("it", "sleep 0.3; echo >&5; exec sleep 1000", notification_fd="5\n", down="")
        self.svscan("it")
        self.svc("-u", "-wU", "it")
        self.assertTrue(self.status("it")["ready"])

    def test_datagram_says_ready(self) -> None:
        """READY=1, as systemd has it, with words for people."""
        speak = (
            "import os, socket, time\n"
            "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
            "s.connect('\\0' + os.environ['NOTIFY_SOCKET'][1:])\n"
            "s.send(b'STATUS=serving\\nREADY=1')\n"
            "time.sleep(1000)\n"
        )
        folder = self.service("it", "exec python3 speak.py", notify_socket="main\n")
        (folder / "speak.py").write_text(speak)
        # Whoever else knows the name isn't believed.
        self.service("other", "python3 speak.py & exec sleep 1000", notify_socket="main\n")
        (self.services / "other" / "speak.py").write_text(speak)
        self.service("trusting", "python3 speak.py & exec sleep 1000", notify_socket="all\n")
        (self.services / "trusting" / "speak.py").write_text(speak)
        self.svscan("it", "other", "trusting")
        self.assertEqual("serving", self.until_state("it", "ready")["said"])
        self.until_state("trusting", "ready")
        self.assertEqual("up", self.until_state("other", "up")["state"])

    def test_needs_are_waited_for(self) -> None:
        """A service starts when what it needs is ready, and says what it waits for."""
        self.service("web", needs__db="")
        self.service(
            "db",
            "while ! test -e go; do sleep 0.1; done; echo >&3; exec sleep 1000",
            notification_fd="3",
        )
        self.svscan("web", "db")
        self.pid("db")
        self.until(lambda: self.status("web").get("waits_for") == ["db"], "it waits")
        self.assertIn("waits for db", self.run_tool("svstat", "--why", "web").stdout)
        self.assertFalse(self.status("web")["up"])
        (self.services / "db" / "go").write_text("")
        self.pid("web")

    def test_given_up_with_an_alarm(self) -> None:
        """Too many deaths in a time: no more tries, one alarm, and a word starts it again."""
        folder = self.service(
            "it", "exit 7", give_up="2 60", backoff="0.1 1", alert='echo "$@" >>alarms'
        )
        self.svscan("it")
        self.assertEqual("up", self.until_state("it", "given up")["want"])
        self.until(lambda: (folder / "alarms").exists(), "the alarm")
        expected = "it 7 given up; died 2 times in a row, the last: exit code 7\n"
        self.until(lambda: (folder / "alarms").read_text() == expected, "its words")
        self.assertEqual(1, self.code("svc", "-wu", "it"))
        self.script(folder / "run", SLEEPS)
        self.svc("-u", "-wu", "it")
        self.assertEqual(0, self.status("it")["deaths"])

    def test_finish_gets_code_and_signal(self) -> None:
        """It runs before the next start, with what s6 tells its own."""
        folder = self.service(
            "it",
            "echo run >>seen; test -e twice && kill -9 $$; >twice; exit 3",
            finish='echo "finish $@" >>seen; test "$1" = 3 || exit 125',
        )
        self.svscan("it")
        status = self.until_state("it", "given up")
        lines = (folder / "seen").read_text().splitlines()
        self.assertEqual(["run", "finish 3 0 it", "run", "finish 256 9 it"], lines)
        self.assertIn("its finish script wants it to stay down", status["why"])

    def test_finish_that_hangs_is_killed(self) -> None:
        """After its time-out the next start comes."""
        self.service("it", "exit 0", finish="exec sleep 1000", timeout_finish="100")
        self.svscan("it")
        self.until(lambda: self.status("it").get("deaths", 0) >= 2, "the second death")

    def test_deaf_service_is_killed(self) -> None:
        """down-signal first, then KILL after timeout-kill."""
        folder = self.service(
            "it",
            "trap 'echo quit >>heard' QUIT; >deaf; while :; do sleep 0.1; done",
            down_signal="QUIT",
            timeout_kill="300",
        )
        self.svscan("it")
        self.until(lambda: (folder / "deaf").exists(), "the trap")
        self.svc("-d", "-wd", "it")
        self.assertEqual("SIGKILL", self.status("it")["signal"])
        self.assertEqual("quit\n", (folder / "heard").read_text())

    def test_mistakes_in_settings_are_told(self) -> None:
        """The service runs all the same."""
        self.service("it", backoff="soon\n")
        self.svscan("it")
        self.pid("it")
        words = 'svscan: warning: it/backoff: found "soon", expected'
        self.until(lambda: words in self.complaints(), "the warning")


class WaitingTests(TreeCase):
    def test_time_out(self) -> None:
        """svc -T gives up waiting, and says for whom."""
        self.service("it", notification_fd="3")
        self.svscan("it")
        done = self.run_tool("svc", "-wU", "-T", "50", "it")
        self.assertEqual(99, done.returncode)
        self.assertEqual("svc: warning: timed out waiting for it\n", done.stderr)

    def test_nobody_there(self) -> None:
        """Waiting for up where nobody supervises ends at once; for down it's there already."""
        self.service("it")
        self.assertEqual(1, self.code("svc", "-wu", "it"))
        self.svc("-wd", "it")
        self.assertEqual(1, self.code("svc", "-wd", "nowhere"))
        self.assertIs(False, self.status("it")["supervised"])
        self.svscan("it")
        self.svc("-d", "-wd", "it")
        self.svc("-wd", "it")

    def test_restarted(self) -> None:
        """Who restarts a service and waits gets the new process, not the one that ends."""
        slow = "trap 'sleep 0.3; exit 0' TERM\nwhile :; do sleep 0.05; done"
        self.service("it", slow, log__multilog="./main\n")
        self.svscan("it", "it/log")
        for letters, name in (("-t", "it"), ("-du", "it"), ("-k", "it"), ("-t", "it/log")):
            before = self.pid(name), self.status(name)["since"]
            self.svc(letters, "-wU", name)
            self.assertNotEqual(before, (self.status(name)["pid"], self.status(name)["since"]))

    def test_wrong_words(self) -> None:
        """-w and -T say what they take."""
        for arguments in (("-wx", "it"), ("-Tsoon", "it"), ("-w",)):
            self.assertEqual(100, self.code("svc", *arguments))


class LogTests(TreeCase):
    def lines(self, name: str) -> list[str]:
        """Give what a log has, without its stamps."""
        current = self.services / name / "log" / "main" / "current"
        if not current.exists():
            return []
        return [line.partition(" ")[2] for line in current.read_text().splitlines()]

    def test_pipe_outlives_both_ends(self) -> None:
        """Restarting the log loses no line, restarting the service neither."""
        counts = "n=0; while test $n -lt 400; do n=$((n+1)); echo $n; sleep 0.005; done; "
        for kind in ("run", "multilog"):
            name = f"by-{kind}"
            script = "exec multilog t ./main" if kind == "run" else "t ./main # the log\n"
            self.service(name, counts + SLEEPS, **{f"log__{kind}": script})
        self.svscan("by-run", "by-run/log", "by-multilog", "by-multilog/log")
        for _time in range(2):
            time.sleep(1.0)
            self.svc("-t", "by-run/log", "by-multilog/log")
        everything = [str(number + 1) for number in range(400)]
        for name in ("by-run", "by-multilog"):
            self.until(lambda name=name: len(self.lines(name)) >= 400, name)  # type: ignore[misc]  # mypy can't infer defaults of lambdas
            self.assertEqual(everything, self.lines(name))

    def test_log_in_svscan_is_a_service_like_any(self) -> None:
        """svstat shows it, svc rotates, pauses, ends and kills it."""
        folder = self.service("it", "echo one; exec sleep 1000", log__multilog="t\n./main\n")
        svscan = self.svscan("it", "it/log")
        self.assertEqual(svscan.pid, self.pid("it/log"))
        self.until(lambda: self.lines("it") == ["one"], "the line")
        main = folder / "log" / "main"
        self.svc("-a", "it/log")
        self.until(lambda: list(main.glob("@*.s")), "rotation")
        self.svc("-p", "it/log")
        self.until(lambda: self.status("it/log").get("paused"), "pause")
        self.svc("-c", "it/log")
        self.svc("-d", "-wd", "it/log")
        self.assertEqual(0o744, (main / "current").stat().st_mode & 0o777)
        self.svc("-t", "it")
        self.svc("-u", "-wu", "it/log")
        self.until(lambda: self.lines("it") == ["one"], "the line of the new one")
        self.svc("-k", "it/log")
        self.until(lambda: self.status("it/log").get("signal") == "SIGKILL", "its end")
        self.pid("it/log")

    def test_log_in_svscan_that_cannot_be(self) -> None:
        """It is told, and tried again once a second."""
        self.service("it", "echo one; exec sleep 1000", log__multilog="t ./missing/main\n")
        self.svscan("it", "it/log")
        words = "multilog: fatal: unable to "
        self.until(lambda: self.complaints().count(words) >= 2, "two complaints")
        self.assertEqual(111, self.status("it/log")["exit"])
        (self.services / "it" / "log" / "missing").mkdir()
        current = self.services / "it" / "log" / "missing" / "main" / "current"
        self.until(lambda: current.exists() and b" one\n" in current.read_bytes(), "the line")

    def test_processor_in_svscan(self) -> None:
        """Old files pass through a command, and svscan goes on meanwhile."""
        folder = self.service(
            "it", "echo one; exec sleep 1000", log__multilog="'!tr a-z A-Z' # in capitals\n./main\n"
        )
        self.svscan("it", "it/log")
        current = folder / "log" / "main" / "current"
        self.until(lambda: current.exists() and current.read_bytes() == b"one\n", "the line")
        self.svc("-a", "it/log")
        old = self.until(lambda: list((folder / "log" / "main").glob("@*.s")), "the old file")
        self.assertEqual(b"ONE\n", old[0].read_bytes())


class EndTests(TreeCase):
    def test_term_takes_everything_down(self) -> None:
        """Services first, then logs, which write down the last word; nobody is left."""
        last = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
        here = self.service("here", last, log__multilog="./main\n")
        apart = self.service("apart", last, log__run="exec multilog ./main")
        self.service("plain")
        svscan = self.svscan("here", "apart", "plain", "apart/log", "here/log")
        pids = [self.pid(name) for name in ("here", "apart", "plain", "apart/log")]
        for folder in (here, apart):
            current = folder / "log" / "main" / "current"
            self.until(lambda current=current: _text(current) == "up\n", "its first line")  # type: ignore[misc]  # mypy can't infer defaults of lambdas
        svscan.terminate()
        self.assertEqual(0, self.ends(svscan))
        self.assertEqual([], [pid for pid in pids if is_running(pid)])
        for folder in (here, apart):
            current = folder / "log" / "main" / "current"
            self.assertEqual("up\nbye\n", _text(current))
            self.assertEqual(0o744, current.stat().st_mode & 0o777)
        self.assertEqual(100, self.code("svok", "plain"))

    def test_second_term_kills(self) -> None:
        """Nobody has to wait for what doesn't listen."""
        folder = self.service("deaf", "trap '' TERM; >deaf; while :; do sleep 0.1; done")
        svscan = self.svscan("deaf")
        self.until(lambda: (folder / "deaf").exists(), "the trap")
        svscan.terminate()
        self.until(lambda: self.status("deaf").get("state") == "stopping", "it was told")
        svscan.terminate()
        self.assertEqual(0, self.ends(svscan))

    def test_term_ends_supervise_and_its_service(self) -> None:
        """Unlike the original's, which would leave it behind."""
        self.service("it")
        supervise = self.supervise("it")
        pid = self.pid("it")
        supervise.terminate()
        self.assertEqual(0, self.ends(supervise))
        self.assertFalse(is_running(pid))

    def test_killed_supervisor_leaves_the_service(self) -> None:
        """After kill -9 it lives on, and the next supervisor starts another, as ever."""
        self.service("it")
        svscan = self.svscan("it")
        first = self.pid("it")
        svscan.kill()
        self.ends(svscan)
        self.assertTrue(is_running(first))
        self.assertEqual(100, self.code("svok", "it"))
        self.svscan("it")
        self.until(lambda: self.pid("it") != first, "the second")
        self.assertTrue(is_running(first))

    def test_removed_service_runs_on(self) -> None:
        """Without its link it isn't started again by svscan, and the log stays until told."""
        elsewhere = self.folder / "elsewhere"
        self.service("it", log__run="exec multilog ./main").rename(elsewhere)
        link = self.services / "it"
        link.symlink_to(elsewhere)
        svscan = self.svscan("it", "it/log")
        self.pid(str(elsewhere / "log"))
        link.unlink()
        os.kill(svscan.pid, signal.SIGHUP)
        self.svc("-dx", "-wd", str(elsewhere))
        self.assertEqual(0, self.code("svok", str(elsewhere / "log")))
        self.svc("-dx", "-wd", str(elsewhere / "log"))
        # Put back, it is there again.
        link.symlink_to(elsewhere)
        os.kill(svscan.pid, signal.SIGALRM)
        self.pid("it")
        self.pid("it/log")

    def test_exited_supervision_comes_back(self) -> None:
        """svc -dx with the link still there: at the next scan it is supervised again."""
        self.service("it")
        svscan = self.svscan("it")
        self.pid("it")
        self.svc("-dx", "-wd", "it")
        os.kill(svscan.pid, signal.SIGHUP)
        self.pid("it")


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
