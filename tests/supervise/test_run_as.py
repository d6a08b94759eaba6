"""What ``harpsv run-as`` reads from its command line."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.supervise.chain.run_as import Wishes
from harpcaller.supervise.messages import Ended


class WishesTests(SynchronousTestCase):
    """Command lines to wishes."""

    def refused(self, *words: str) -> str:
        """Read what must be wrong; gives what is said about it."""
        end: Ended = self.assertRaises(Ended, Wishes, list(words))
        self.assertEqual(100, end.exit_code)
        return end.line

    def test_all_of_them(self) -> None:
        """Letters and long forms mean the same; the program's own options are left alone."""
        short = ["-e", "a", "-eb", "-U", "v", "-u", "w", "-l", "k", "-Pn5", "-C", "/", "-o5"]
        long = ["--env-dir=a", "--env-dir", "b", "--env-user=v", "--user=w", "--lock=k"]
        long += ["--session", "--nice=5", "--chdir=/", "-o", "5"]
        for words in (short, long):
            wishes = Wishes([*words, "--locked==", "--umask", "027", "prog", "-e", "--user"])
            expected = {"U": "v", "u": "w", "l": "k", "P": "", "n": "5", "C": "/", "umask": "027"}
            self.assertEqual(expected, wishes.last)
            self.assertEqual(["a", "b"], wishes.directories)
            self.assertEqual([("o", "5"), ("l", "=")], wishes.limits)
            self.assertEqual((0o27, 5), (wishes.umask, wishes.niceness))
            self.assertEqual(["prog", "-e", "--user"], wishes.command)

    def test_nothing_asked_for(self) -> None:
        """Then nothing is changed."""
        wishes = Wishes(["prog"])
        self.assertEqual(
            ({}, [], [], None, 0),
            (
                wishes.last,
                wishes.directories,
                wishes.limits,
                wishes.umask,
                wishes.niceness,
            ),
        )

    def test_mistakes(self) -> None:
        """What was found and what was expected is told before anything is done."""
        for words, what in [
            (["--umask", "9", "p"], "--umask 9: octal digits up to 777 were expected"),
            (["--umask=", "p"], "--umask : octal"),
            (["--umask=1777", "p"], "--umask 1777: octal"),
            (["-nx", "p"], "--nice x: a number was expected"),
            (["-n-", "p"], "--nice -: a number was expected"),
            (["-n", "1" * 5000, "p"], "a number was expected"),
            (["-o5k", "p"], "-o 5k: digits or = were expected"),
            (["-la", "-Lb", "p"], "-l and -L exclude each other"),
            (
                ["--stderr=x", "--stderr-to-stdout", "p"],
                "--stderr and --stderr-to-stdout exclude each other",
            ),
            (["--all-groups", "p"], "--all-groups needs --user"),
            (["-P"], "run-as: usage:"),
            (["--frobnicate", "p"], "illegal option -- frobnicate"),
        ]:
            self.assertIn(what, self.refused(*words))
