"""multilog and the filters beside daemontools' own: a log directory goes from one to the other."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
from pathlib import Path

from tests.system.multilog_tools import OURS, PATIENCE, SYSTEM_PATH, LoggerCase

PATTERNS = ["*", "", "a*", "*a", "*b*", "a*b*c", "**", "*a*a", "b", "* *", "*a b*", "x*x"]
LINES = [b"", b"a", b"b", b"ab", b"abc", b"a b", b"*", b"xax", b"\0", b"\xffa", b"aab c", b"x" * 40]
LONG_LINES = [b"a" * 200, b"b" * 201, b"x" * 973, b"a" * 974, b"x" * 999, b"a" * 1000, b"b" * 1001]
LABEL = re.compile(rb"^@[0-9a-f]{24} ", re.MULTILINE)


class GivenToEachOtherTests(LoggerCase):
    """One log directory, their multilog and ours by turns."""

    def turns(self, endings: list[str]) -> list[tuple[str, str]]:
        theirs = self.original("multilog")
        found = []
        for ending in endings:
            found += [(theirs, ending), ("", ending)]
        return found

    def test_by_turns(self) -> None:
        """However each ends, the other goes on: no line is lost, twice or out of order."""
        number = 0
        turns = [*self.turns(["end", "TERM", "KILL"] * 2), *self.turns(["end"])]
        for program, ending in turns:
            logger = self.logger("t", "s4096", "n99", "./main", program=program or None)
            for _ in range(3):
                lines = b"".join(b"%06d\n" % one for one in range(number, number + 70))
                number += 70
                logger.write(lines)
            self.has_come(b"%06d\n" % (number - 1))
            if ending == "end":
                self.assertEqual(0, logger.end())
            else:
                logger.kill(getattr(signal, f"SIG{ending}"))
                logger.wait()
            if ending != "KILL":
                self.assertEqual(0o744, self.mode("current"))
            self.assertEqual("", logger.said())
            logger.close()
            logger.pipe = (-1, -1)
        text = LABEL.sub(b"", self.everything())
        self.assertEqual(b"".join(b"%06d\n" % one for one in range(number)), text)
        # What each killed one was writing, maybe in the middle of a rotation.
        kills = sum(ending == "KILL" for _, ending in turns)
        torn = [path for path in self.old() if path.suffix == ".u"]
        self.assertTrue(kills <= len(torn) <= 2 * kills, torn)
        for path in self.old():
            if path.suffix == ".s":
                self.assertEqual(0o744, path.stat().st_mode & 0o777)

    def has_come(self, line: bytes) -> None:
        """Wait until a line is in the log directory."""
        self.until(lambda: line in self.everything())

    def has_old(self, count: int) -> None:
        """Wait until so many old files are there."""
        self.until(lambda: len(self.old()) == count)

    def test_state(self) -> None:
        """A processor's state is handed on."""
        theirs = self.original("multilog")
        command = "!n=$(cat <&4); echo $((n + 1)) >&5; cat"
        for number, program in enumerate([theirs, None, theirs, None], 1):
            logger = self.logger("n9", command, "./main", program=program)
            logger.write(b"%d\n" % number)
            self.has_come(b"%d\n" % number)
            logger.kill(signal.SIGALRM)
            self.has_old(number)
            self.assertEqual(0, logger.end())
            self.assertEqual(b"%d\n" % number, (self.main / "state").read_bytes())
        self.assertEqual(b"1\n2\n3\n4\n", self.everything())

    def test_left_half_way(self) -> None:
        """What a killed one has left in the middle of its work is put away alike."""
        theirs = self.original("multilog")
        ours = self.quick("multilog")
        cases: list[dict[str, tuple[bytes, int]]] = []
        for current in (None, 0o644, 0o744):
            for previous in (None, 0o644, 0o744):
                for processed in (None, 0o644, 0o744):
                    modes = {"current": current, "previous": previous, "processed": processed}
                    case = {"state": (b"state", 0o600), "newstate": (b"new", 0o644)}
                    for name, mode in modes.items():
                        if mode is not None:
                            case[name] = (name.encode(), mode)
                    cases.append(case)
        for number, case in enumerate(cases):
            seen = []
            for name, program in (("theirs", theirs), ("ours", ours)):
                folder = self.folder / f"{name}{number}"
                folder.mkdir()
                for file, (content, mode) in case.items():
                    (folder / file).write_bytes(content)
                    (folder / file).chmod(mode)
                done = subprocess.run(
                    [program, f"./{folder.name}"],
                    cwd=self.folder,
                    input=b"line\n",
                    capture_output=True,
                    check=False,
                    timeout=PATIENCE,
                )
                self.assertEqual((0, b""), (done.returncode, done.stderr))
                seen.append(described(folder))
            self.assertEqual(seen[0], seen[1], case)


def described(folder: Path) -> list[tuple[str, int, bytes]]:
    """Give all that a log directory has: names without their labels, modes, contents."""
    return [
        (
            path.name[25:] if path.name.startswith("@") else path.name,
            path.stat().st_mode & 0o7777,
            path.read_bytes(),
        )
        for path in sorted(folder.iterdir())
    ]


class AlikeTests(LoggerCase):
    """The same script and input give the same."""

    def outcome(self, program: str, name: str, script: list[str], data: bytes) -> object:
        folder = self.folder / name
        folder.mkdir(parents=True)
        done = subprocess.run(
            [program, *script],
            cwd=folder,
            input=data,
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )
        files: dict[str, object] = {}
        for path in sorted(folder.iterdir()):
            if path.is_dir():
                content = b"".join(one.read_bytes() for one in sorted(path.glob("@*")))
                content += (path / "current").read_bytes()
                modes = {(one.name[:1], one.stat().st_mode & 0o7777) for one in path.iterdir()}
                files[path.name] = (LABEL.sub(b"@ ", content), sorted(modes))
            else:
                # A status file may begin with a label; whatever is there is there in both.
                files[path.name] = (LABEL.sub(b"@ ", path.read_bytes()), path.stat().st_mode)
        return done.returncode, done.stdout, LABEL.sub(b"@ ", done.stderr), files

    def test_any_script(self) -> None:
        """Directories, status files, standard error and exit codes can't be told apart."""
        theirs, ours = self.original("multilog"), self.quick("multilog")
        chance = random.Random(7)
        for number in range(int(os.environ.get("MULTILOG_SCRIPTS", "25"))):
            script = ["t"] if chance.random() < 0.4 else []
            for _ in range(chance.randrange(8)):
                kind = chance.choice("+--+e=.s?")
                if kind in "+-":
                    script.append(
                        kind + ("* " if script[:1] == ["t"] else "") + chance.choice(PATTERNS)
                    )
                else:
                    name = f"x{len(script)}"
                    script.append(
                        {
                            "e": "e",
                            "=": f"={name}",
                            ".": f"./{name}",
                            "?": "unknown",
                            "s": "s4096",
                        }[kind]
                    )
            script += ["n99", "./last"]
            lines = [chance.choice(LINES) for _ in range(chance.randrange(200))]
            lines += [chance.choice(LONG_LINES) for _ in range(chance.randrange(9))]
            if chance.random() < 0.2:
                lines.append(b"y" * 9000)
            chance.shuffle(lines)
            data = b"\n".join(lines) + b"\n" * chance.randrange(2)
            self.assertEqual(
                self.outcome(theirs, f"theirs{number}", script, data),
                self.outcome(ours, f"ours{number}", script, data),
                (script, data),
            )

    def test_messages(self) -> None:
        """What goes wrong at the start is told in the same words, with the same exit code."""
        theirs, ours = self.original("multilog"), self.quick("multilog")
        for number, script in enumerate(
            (
                [],
                ["e"],
                ["./a/b"],
                ["=a/b"],
                ["="],
                ["=."],
                ["/dev/null"],
                ["./x", "./x"],
                ["./x", "./y", ".//x"],
                ["=/dev/null", "./x"],
                [""],
                ["t", "t", "e"],
            )
        ):
            first = self.outcome(theirs, f"theirs{number}", script, b"a\n")
            second = self.outcome(ours, f"ours{number}", script, b"a\n")
            self.assertEqual(first, second, script)


class FilterTests(LoggerCase):
    """tai64n and tai64nlocal"""

    def run_filter(self, program: list[str], data: bytes, zone: str) -> tuple[int, bytes, bytes]:
        done = subprocess.run(
            program,
            input=data,
            capture_output=True,
            check=False,
            timeout=PATIENCE,
            env={"PATH": SYSTEM_PATH, "TZ": zone},
        )
        return done.returncode, done.stdout, done.stderr

    def test_local(self) -> None:
        """Labels of any time are shown alike, in any zone."""
        theirs = self.original("tai64nlocal")
        seconds = [
            0,
            -1,
            1,
            951782399,
            1297257984,
            1319936400,
            2**31,
            2**33,
            -(2**31),
            253402300800,
        ]
        data = (
            b"no label\n\n"
            + b"".join(
                b"@%016x%08x rest @%016x\n" % (2**62 + 10 + one, nano, one + 2**62)
                for one in seconds
                for nano in (0, 500, 999999999, 0xFFFFFFFF)
            )
            + b"the end"
        )
        for zone in ("UTC", "Europe/Berlin", "America/St_Johns", "right/UTC"):
            self.assertEqual(
                self.run_filter([theirs], data, zone),
                self.run_filter([*OURS, "tai64nlocal"], data, zone),
            )

    def test_stamp(self) -> None:
        """Every line gets a label of now; nothing else is changed."""
        data = b"a\n\n\0b\nend"
        before = b"@%016x" % (2**62 + 10)
        for program in ([self.original("tai64n")], [*OURS, "tai64n"]):
            code, out, err = self.run_filter(program, data, "UTC")
            self.assertEqual((0, b""), (code, err))
            self.assertEqual(data, LABEL.sub(b"", out))
            labels = [line[:17] for line in out.split(b"\n")]
            self.assertTrue(before < labels[0] == min(labels), labels)

    def test_promptly(self) -> None:
        """What has come goes on before more is read, half a line too."""
        process = subprocess.Popen(
            [*OURS, "tai64n"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(b"hal")
            found = b""
            while len(found) < 29:
                found += process.stdout.read(100)
            self.assertEqual(b"hal", LABEL.sub(b"", found))
            process.stdin.write(b"f\n")
            self.assertEqual(b"f\n", process.stdout.read(100))
            process.stdin.close()
            self.assertEqual(b"", process.stdout.read(100))
            self.assertEqual(0, process.wait(PATIENCE))
        finally:
            process.kill()
            process.wait(PATIENCE)
            process.stdin.close()
            process.stdout.close()

    def test_trouble(self) -> None:
        """What can't be written ends it silently."""
        for tool in ("tai64n", "tai64nlocal"):
            with open("/dev/full", "wb") as full:
                done = subprocess.run(
                    [*OURS, tool],
                    input=b"a\n",
                    stdout=full,
                    stderr=subprocess.PIPE,
                    check=False,
                    timeout=PATIENCE,
                )
            self.assertEqual((111, b""), (done.returncode, done.stderr))
