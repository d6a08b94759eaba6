"""What ``harpd`` says to those who type it."""

from __future__ import annotations

from tests.system.agents import CONFIG, PASSWORD, USER, LifeCase


class CommandTests(LifeCase):
    def test_good_files(self) -> None:
        """--test of good files says so."""
        done = self.run_command("--test", "-c", "harpd.conf", "-r", "harpd.py")
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertRegex(done.stdout, r"the configuration is fine; \d+ procedures")
        self.assertIn("procedure as_nobody_at_all: there is no user 'no-such-user'", done.stderr)

    def test_every_mistake(self) -> None:
        """--test names everything that is wrong in all files."""
        (self.folder / "harpd.py").write_text("x = = 1\n")
        text = CONFIG.format(user=USER, password=PASSWORD)
        text = text.replace("agent.key", "nowhere.key").replace("plain:", "plan:")
        (self.folder / "harpd.conf").write_text(text)
        done = self.run_command("-t", "-c", "harpd.conf", "-r", "harpd.py")
        self.assertEqual(1, done.returncode)
        lines = done.stderr.splitlines()
        self.assertEqual(3, len(lines), done.stderr)
        self.assertIn("harpd.conf: line 10: authentication.users.dispatcher: expected", lines[0])
        self.assertIn("nowhere.key: No such file", lines[1])
        self.assertIn("harpd.py:1: invalid syntax", lines[2])
        self.assertNotIn(PASSWORD, done.stderr)

    def test_does_not_start(self) -> None:
        """With files that can't be used, or a port that is taken, it ends with 1."""
        agent = self.start().listening()
        config = self.folder / "harpd.conf"
        config.write_text(config.read_text().replace("port: 0", f"port: {agent.port}"))
        # The network process can't write down what was covered, and says so.
        done = self.run_command("-c", "harpd.conf", "-r", "harpd.py", is_measured=False)
        self.assertEqual(1, done.returncode)
        self.assertIn(f"cannot listen on 127.0.0.1 port {agent.port}", done.stdout)
        self.assertNotIn("Traceback", done.stdout + done.stderr)
        done = self.run_command("-c", "nowhere.conf")
        self.assertEqual(1, done.returncode)
        self.assertIn("nowhere.conf: No such file", done.stderr)
        done = self.run_command("-c", "harpd.conf", "-u", "no-such-user")
        self.assertEqual(1, done.returncode)
        self.assertIn("no-such-user", done.stderr)
        done = self.run_command("-c", "harpd.conf", "-p", "/nonexistent/pid")
        self.assertEqual((1, True), (done.returncode, "/nonexistent/pid" in done.stderr))

    def test_wrong_command_line(self) -> None:
        """A wrong command line ends with 2."""
        for options in (["--nonsense"], ["argument"], ["-l"]):
            with self.subTest(options=options):
                done = self.run_command(*options)
                self.assertEqual(2, done.returncode)
                self.assertEqual(1, len(done.stderr.splitlines()), done.stderr)

    def test_pid_file(self) -> None:
        """The pid file is there while it runs."""
        path = self.folder / "pid"
        agent = self.start("-p", str(path)).listening()
        self.assertEqual(f"{agent.process.pid}\n", path.read_text())
        self.assertEqual(0, agent.stop())
        self.assertFalse(path.exists())
