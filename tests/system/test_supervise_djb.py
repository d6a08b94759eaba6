"""Side by side with the original: its programs and ours on the same directories."""

from __future__ import annotations

import os
import signal

from tests.system.supervise_trees import THEIRS, TreeCase, is_running, without_seconds


class SameWordsTests(TreeCase):
    """Our tools and theirs, asked the same."""

    needs_theirs = True

    def same(self, *command: str) -> None:
        """Both print and answer the same, once what was commanded before has happened."""

        def both() -> list[tuple[int, str, str]]:
            done = [self.run_tool(*command, bin_=bin_) for bin_ in (THEIRS, self.ours)]
            return [(one.returncode, without_seconds(one.stdout), one.stderr) for one in done]

        theirs, ours = both()
        if theirs != ours and command[0] == "svstat":
            self.until(lambda: len(set(both())) == 1, f"the same words from {command}")
            return
        self.assertEqual(theirs, ours, command)

    def test_used_wrongly(self) -> None:
        """Usage and mistakes are told in the same words, with the same codes."""
        self.service("new")
        (self.services / "plain").write_text("")
        for command in (
            ["supervise"],
            ["supervise", "missing"],
            ["supervise", "a", "b"],
            ["supervise", "plain"],
            ["svok"],
            ["svok", "missing"],
            ["svok", "new"],
            ["svok", "plain"],
            ["svok", "new", "more"],
            ["svc"],
            ["svc", "-z"],
            ["svc", "-u", "missing", "new", "plain"],
            ["svc", "new"],
            ["svstat"],
            ["svstat", "missing", "new", "plain", "."],
            ["svscan", "missing"],
            ["readproctitle"],
            ["readproctitle", "...."],
        ):
            self.same(*command)

    def test_states(self) -> None:
        """A service is told in the same words, whatever it was told to do."""
        self.service("up")
        self.service("down", down="")
        self.service("deaf", "trap '' TERM; while :; do sleep 1; done")
        for name in ("up", "down", "deaf"):
            self.supervise(name)
        for name in ("up", "deaf"):
            self.pid(name)
        names = ("up", "down", "deaf")
        self.same("svstat", *names)
        self.same("svok", "up")
        for letters in ("-p", "-c", "-o", "-u"):
            self.svc(letters, "up")
            self.same("svstat", *names)
        (self.services / "up" / "down").write_text("")
        self.same("svstat", *names)
        # Until it has set its trap it would end.
        self.svc("-d", "deaf")
        self.svc("-o", "down")
        self.pid("down")
        self.same("svstat", *names)
        self.svc("-dx", "-wd", "up")
        self.same("svstat", *names)
        self.same("svok", "up")
        self.same("svc", "-u", "up")

    def test_damaged(self) -> None:
        """What can't be read is told the same way."""
        self.service("short")
        self.supervise("short")
        (self.services / "short" / "supervise" / "status").write_bytes(b"short")
        self.same("svstat", "short")
        (self.services / "short" / "supervise" / "status").unlink()
        self.same("svstat", "short")


class TheirToolsTests(TreeCase):
    """Their svc, svstat and svok on our supervise."""

    needs_theirs = True

    def test_their_svc(self) -> None:
        """All that svc can say is heard."""
        self.service("it")
        supervisor = self.supervise("it")
        first = self.pid("it")
        self.svc("-p", "it", bin_=THEIRS)
        self.until(lambda: self.status("it").get("paused"), "paused")
        self.svc("-c", "it", bin_=THEIRS)
        self.until(lambda: self.status("it").get("paused") is False, "going on")
        self.svc("-t", "it", bin_=THEIRS)
        self.until(lambda: self.pid("it") != first, "another process")
        self.svc("-d", "it", bin_=THEIRS)
        self.until(lambda: self.status("it").get("up") is False, "down")
        self.assertIn(": down ", self.run_tool("svstat", "it", bin_=THEIRS).stdout)
        self.svc("-u", "it", bin_=THEIRS)
        second = self.pid("it")
        self.assertIn(f"up (pid {second})", self.run_tool("svstat", "it", bin_=THEIRS).stdout)
        self.assertEqual(0, self.run_tool("svok", "it", bin_=THEIRS).returncode)
        self.svc("-dx", "it", bin_=THEIRS)
        self.assertEqual(0, self.ends(supervisor))
        self.assertEqual(100, self.run_tool("svok", "it", bin_=THEIRS).returncode)
        self.assertFalse(is_running(second))

    def test_their_supervise_keeps_off(self) -> None:
        """A service that ours has is refused to theirs, and isn't disturbed."""
        self.service("it")
        self.supervise("it")
        pid = self.pid("it")
        refused = self.run_tool("supervise", "it", bin_=THEIRS)
        words = "supervise: fatal: unable to acquire it/supervise/lock: temporary failure\n"
        self.assertEqual((111, words), (refused.returncode, refused.stderr))
        self.assertEqual(pid, self.pid("it"))


class TheirSuperviseTests(TreeCase):
    """Our svc, svstat and svok on their supervise."""

    needs_theirs = True

    def test_our_svc(self) -> None:
        """It is told, watched and waited for as if it were ours."""
        self.service("it", down="")
        supervisor = self.supervise("it", THEIRS)
        self.svc("-u", "-wu", "it")
        first = self.status("it")["pid"]
        self.assertTrue(is_running(first))
        self.assertIn(f"up (pid {first})", self.run_tool("svstat", "it").stdout)
        self.svc("-d", "-wd", "it")
        self.assertFalse(is_running(first))
        self.svc("-u", "-wU", "it")
        self.svc("-dx", "-wd", "it")
        self.assertEqual(0, self.ends(supervisor))
        self.assertEqual(100, self.code("svok", "it"))

    def test_our_supervise_keeps_off(self) -> None:
        """A service that theirs has is refused to ours."""
        self.service("it")
        self.supervise("it", THEIRS)
        refused = self.run_tool("supervise", "it")
        words = "supervise: fatal: unable to acquire it/supervise/lock: temporary failure\n"
        self.assertEqual((111, words), (refused.returncode, refused.stderr))

    def test_taken_over_and_given_back(self) -> None:
        """A directory goes from one family to the other and back."""
        self.service("it")
        for bin_ in (THEIRS, self.ours, THEIRS, self.ours):
            supervisor = self.supervise("it", bin_)
            self.pid("it")
            ours = bin_ == self.ours
            self.until(lambda ours=ours: ours == ("state" in self.status("it")), "detail")  # type: ignore[misc]  # mypy can't infer defaults of lambdas
            self.svc("-dx", "-wd", "it")
            self.assertEqual(0, self.ends(supervisor))


class MixedTreeTests(TreeCase):
    """One tree with programs of both."""

    needs_theirs = True

    def test_their_svscan_with_our_supervise(self) -> None:
        """Their svscan finds ours by PATH, and starts it for service and log."""
        self.service("web", "echo hello; exec sleep 1000", log__run="exec multilog t ./main")
        self.start(f"{THEIRS}/svscan", str(self.services))
        pid = self.pid("web")
        logger = self.pid("web/log")
        self.assertIn(f"up (pid {pid})", self.run_tool("svstat", "web", bin_=THEIRS).stdout)
        self.assertIn("state", self.status("web"))
        current = self.services / "web" / "log" / "main" / "current"
        self.until(lambda: current.exists() and b" hello\n" in current.read_bytes(), "the line")
        self.svc("-t", "web", "web/log")
        self.until(lambda: self.pid("web") != pid and self.pid("web/log") != logger, "new ones")
        self.until(lambda: current.read_bytes().count(b" hello\n") == 2, "the second line")

    def test_our_svscan_with_their_tools(self) -> None:
        """Under ours, run scripts use their multilog and their chain tools."""
        self.service(
            "web",
            f"echo hello; exec {THEIRS}/pgrphack sleep 1000",
            log__run=f"exec {THEIRS}/multilog t ./main",
        )
        self.svscan("web", "web/log")
        pid = self.pid("web")
        self.until(lambda: os.getsid(pid) == pid, "its own session")
        current = self.services / "web" / "log" / "main" / "current"
        self.until(lambda: current.exists() and b" hello\n" in current.read_bytes(), "the line")
        self.svc("-t", "web", bin_=THEIRS)
        self.until(lambda: current.read_bytes().count(b" hello\n") == 2, "the second line")

    def test_service_that_theirs_has_already(self) -> None:
        """Our svscan leaves it alone, says so, and takes it once it is free."""
        self.service("it")
        theirs = self.supervise("it", THEIRS)
        ours = self.svscan()
        words = "supervise: fatal: unable to acquire it/supervise/lock: temporary failure"
        self.until(lambda: words in self.complaints(), "refusal")
        self.svc("-dx", "-wd", "it")
        self.assertEqual(0, self.ends(theirs))
        os.kill(ours.pid, signal.SIGHUP)
        self.until(lambda: self.status("it").get("state") == "up", "ours has it")
