"""What the exec-chain tools decide, before they touch anything."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from resource import RLIM_INFINITY

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.supervise.chain import (
    envdir,
    envuidgid,
    fghack,
    pgrphack,
    setlock,
    setuidgid,
    softlimit,
)
from harpcaller.supervise.chain.execution import attempt, candidates
from harpcaller.supervise.chain.inherited import first_value
from harpcaller.supervise.chain.options import Options
from harpcaller.supervise.messages import Ended, fatal, reason


class EnvironmentFileTests(SynchronousTestCase):
    """What a file of an environment directory means."""

    def test_rules(self) -> None:
        """The first line counts, without what can't be seen at its end."""
        for content, value in [
            (b"", None),
            (b"\n", b""),
            (b" \t\n", b""),
            (b"plain", b"plain"),
            (b"plain\n", b"plain"),
            (b"one\ntwo\n", b"one"),
            (b"  before and after \t \n", b"  before and after"),
            (b"a\0b\n", b"a\nb"),
            (b"return\r\n", b"return\r"),
            (b"\xff\xfe", b"\xff\xfe"),
        ]:
            self.assertEqual((b"NAME", value), envdir.assignment(b"NAME", content))

    def test_names_with_an_equals_sign(self) -> None:
        """What comes after the sign is the value's beginning; without content it is the value."""
        self.assertEqual((b"K", b"x=y"), envdir.assignment(b"K=x", b"y\n"))
        self.assertEqual((b"M", b"N"), envdir.assignment(b"M=N", b""))
        self.assertEqual((b"K", b"=y"), envdir.assignment(b"K=", b"y\n"))

    @given(st.binary(min_size=1).filter(lambda name: b"=" not in name), st.binary())
    def test_a_value_is_a_value(self, name: bytes, content: bytes) -> None:
        """Whatever a file has, the value can be one, and its end can be seen."""
        variable, value = envdir.assignment(name, content)
        self.assertEqual((name, not content), (variable, value is None))
        if value is not None:
            self.assertNotIn(b"\0", value)
            self.assertEqual(value, value.rstrip(b" \t"))
            line = content.split(b"\n")[0].replace(b"\0", b"\n")
            self.assertTrue(line.startswith(value))
            self.assertEqual(b"", line[len(value) :].strip(b" \t"))


class LimitTests(SynchronousTestCase):
    """What a limit's value means."""

    def test_numbers(self) -> None:
        """A soft limit is never more than the hard one."""
        for value, hard, soft in [
            ("5", 10, 5),
            ("50", 10, 10),
            ("", 10, 0),
            ("0005", 10, 5),
            ("=", 10, 10),
            ("=", RLIM_INFINITY, RLIM_INFINITY),
            ("5", RLIM_INFINITY, 5),
            (str(2**63 - 1), RLIM_INFINITY, 2**63 - 1),
            (str(2**63), RLIM_INFINITY, RLIM_INFINITY),
            ("9" * 100_000, RLIM_INFINITY, RLIM_INFINITY),
            ("9" * 100_000, 10, 10),
        ]:
            self.assertEqual(soft, softlimit.soft(value, hard), (value[:20], hard))

    def test_what_is_no_number(self) -> None:
        """A sign, another base, a unit and a digit of another script are mistakes."""
        for value in ("-1", "+1", "0x10", "5k", " 5", "==", "\u0665"):
            self.assertIsNone(softlimit.soft(value, 10), value)

    @given(st.text("0123456789", max_size=30), st.integers(0, 2**62))
    def test_any_digits(self, digits: str, hard: int) -> None:
        """All digits count."""
        self.assertEqual(min(int(digits or "0"), hard), softlimit.soft(digits, hard))


class OptionsTests(SynchronousTestCase):
    """Command lines to options."""

    def read(self, *words: str) -> tuple[list[tuple[str, str]], list[str]]:
        """Read a command line of a tool that has -a, -b and -o VALUE, and some long forms."""
        long = {"all": "a", "output": "o", "only": "only"}
        options = Options("tool", ("a", "b"), ("o", "only"), "synopsis", list(words), long)
        return list(options), options.rest

    def test_joined_and_separate(self) -> None:
        """Letters can be joined, and a value to its letter."""
        expected = [("a", ""), ("b", ""), ("o", "x")]
        for words in (["-abox"], ["-a", "-b", "-o", "x"], ["-ab", "-ox"]):
            self.assertEqual((expected, ["rest", "-a"]), self.read(*words, "rest", "-a"))

    def test_long_forms(self) -> None:
        """A value comes after an equals sign, or in the next word."""
        expected = [("a", ""), ("o", "x=y"), ("only", "")]
        self.assertEqual((expected, []), self.read("--all", "--output", "x=y", "--only="))

    def test_where_they_end(self) -> None:
        """Two dashes end them; a single one isn't an option."""
        self.assertEqual(([("a", "")], ["-b"]), self.read("-a", "--", "-b"))
        self.assertEqual(([], ["-", "-a"]), self.read("-", "-a"))
        self.assertEqual(([("o", "--")], ["x"]), self.read("-o", "--", "x"))

    def test_mistakes(self) -> None:
        """The option is named, and the synopsis follows."""
        for words, what in [
            (["-aq"], "illegal option -- q"),
            (["-a-"], "illegal option -- -"),
            (["-o"], "option requires an argument -- o"),
            (["--output"], "option requires an argument -- output"),
            (["--other"], "illegal option -- other"),
            (["--all=x"], "option takes no argument -- all"),
        ]:
            end = self.assertRaises(Ended, self.read, *words)
            self.assertEqual((f"tool: {what}\nsynopsis", 100), (end.line, end.exit_code))

    def test_daemontools_has_no_long_forms(self) -> None:
        """To its tools the second dash is a letter."""
        options = Options("tool", "a", "", "synopsis", ["--all"])
        end = self.assertRaises(Ended, list, options)
        self.assertIn("illegal option -- -", end.line)


class FindingTests(SynchronousTestCase):
    """Which file a program's name means."""

    def failing(self, *codes: int | None) -> tuple[list[bytes], int | None]:
        """Try directories that fail so; gives those tried, and the error that is told."""
        answers = iter(codes)
        tried = []

        def start(file: bytes) -> None:
            tried.append(file)
            if (code := next(answers)) is not None:
                raise OSError(code, os.strerror(code))

        path = b":".join(b"/%d" % number for number in range(len(codes)))
        try:
            attempt(b"p", path, start)
        except OSError as error:
            return tried, error.errno
        return tried, None

    def test_places(self) -> None:
        """A slash makes it a file; an empty part is the current directory."""
        self.assertEqual([b"./p"], candidates(b"./p", b"/bin"))
        self.assertEqual([b"/bin/p", b"./p", b"x/p", b"./p"], candidates(b"p", b"/bin::x:"))
        self.assertEqual([b"./p"], candidates(b"p", b""))
        self.assertEqual([b"/bin/p", b"/usr/bin/p"], candidates(b"p", None))

    def test_first_that_works(self) -> None:
        """Those after it aren't tried."""
        self.assertEqual(([b"/0/p", b"/1/p"], None), self.failing(errno.ENOENT, None, None))
        self.assertEqual(([b"/0/p", b"/1/p"], None), self.failing(errno.EACCES, None))

    def test_what_is_told(self) -> None:
        """That a file may not be run says more than that others aren't there."""
        self.assertEqual(errno.ENOENT, self.failing(errno.ENOENT, errno.ENOENT)[1])
        self.assertEqual(errno.EACCES, self.failing(errno.EACCES, errno.ENOENT)[1])
        self.assertEqual(errno.EPERM, self.failing(errno.EACCES, errno.EPERM, errno.ENOENT)[1])

    def test_what_ends_the_search(self) -> None:
        """Any other error is the program's own."""
        expected = ([b"/0/p"], errno.ENOEXEC)
        self.assertEqual(expected, self.failing(errno.ENOEXEC, None))


class LocaleTests(SynchronousTestCase):
    """What the locale was before Python chose one."""

    def test_first_value(self) -> None:
        """Names that end alike are others."""
        environment = b"MY_LC_CTYPE=1\0A=LC_CTYPE=2\0LC_CTYPE=C\0LC_CTYPE=x\0EMPTY=\0"
        self.assertEqual(b"C", first_value(environment, b"LC_CTYPE"))
        self.assertEqual(b"1", first_value(environment, b"MY_LC_CTYPE"))
        self.assertEqual(b"", first_value(environment, b"EMPTY"))
        self.assertIsNone(first_value(environment, b"LC_ALL"))
        self.assertIsNone(first_value(b"", b"A"))


class MistakeTests(SynchronousTestCase):
    """Command lines that lack something."""

    def test_usage(self) -> None:
        """Each tool says its usage, with daemontools' code for it; envdir has another."""
        for tool, arguments, code in [
            (envdir, [], 111),
            (envdir, ["dir"], 111),
            (setuidgid, ["root"], 100),
            (envuidgid, ["root"], 100),
            (softlimit, [], 100),
            (softlimit, ["-o", "5k", "true"], 100),
            (setlock, ["-n", "file"], 100),
            (pgrphack, [], 100),
            (fghack, [], 100),
        ]:
            end = self.assertRaises(Ended, tool.main, arguments)
            name = tool.__name__.rpartition(".")[2]
            self.assertTrue(end.line.startswith(f"{name}: usage: {name} "), end.line)
            self.assertEqual(code, end.exit_code)


class MessageTests(SynchronousTestCase):
    """What is said of errors."""

    def test_words(self) -> None:
        """They are daemontools' own, not the system's."""
        self.assertEqual("temporary failure", reason(OSError(errno.EAGAIN, "")))
        self.assertEqual("unknown error", reason(OSError(errno.EBADMSG, "")))
        self.assertEqual("unknown error", reason(OSError()))
        end = fatal("tool", "unable to x", OSError(errno.ENOENT, ""))
        expected = ("tool: fatal: unable to x: file does not exist", 111)
        self.assertEqual(expected, (end.line, end.exit_code))
        self.assertEqual("tool: fatal: crashed", fatal("tool", "crashed").line)


class ReadingTests(SynchronousTestCase):
    """Environment directories that can't be read."""

    def test_where_we_are(self) -> None:
        """What is wrong is told, and where; afterwards we are where we were."""
        folder = Path(self.mktemp())
        (folder / "SUB").mkdir(parents=True)
        here = Path.cwd()
        end = self.assertRaises(Ended, envdir.apply, "envdir", str(folder))
        self.assertEqual(f"envdir: fatal: unable to read {folder}/SUB: is a directory", end.line)
        self.assertEqual(here, Path.cwd())
        end = self.assertRaises(Ended, envdir.apply, "envdir", f"{folder}/none")
        self.assertEqual(
            f"envdir: fatal: unable to switch to directory {folder}/none: file does not exist",
            end.line,
        )

    def test_a_variable_without_a_name(self) -> None:
        """There is none."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "=x").write_text("y")
        end = self.assertRaises(Ended, envdir.apply, "envdir", str(folder))
        self.assertIn(f"unable to set {folder}/=x: a variable needs a name", end.line)


class CopiesTests(SynchronousTestCase):
    """The descriptors by which fghack sees that a program is still there."""

    def test_as_many_as_there_may_be(self) -> None:
        """Where that are too few, the program still gets those."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        three = self.copies(writing, limits[0])
        self.assertEqual(3, len(three))
        # The lowest that are free are taken first.
        self.assertEqual(three[:2], self.copies(writing, three[2]))
        self.assertEqual([], self.copies(writing, three[0]))

    def copies(self, descriptor: int, limit: int) -> list[int]:
        """Make three copies, or as many as fit, and close them again."""
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limits[1]))
        try:
            copies = fghack.copy(descriptor, 3)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        self.assertTrue(all(map(os.get_inheritable, copies)))
        for one in copies:
            os.close(one)
        return copies
