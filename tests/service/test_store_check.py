"""The program that checks a store: what it prints, and how it ends."""

from __future__ import annotations

import fcntl
import io
import os

from harpcaller.service.store_check import Paper, main
from harpcaller.store.findings import KINDS, Finding, as_json, as_text, shown
from harpcaller.wire.values import decode
from tests.house import HouseCase
from tests.store.checkcase import CheckCase
from tests.store.jobs import job


class ProgramTests(CheckCase):
    def call(self, *argv: str) -> tuple[int, list[str], str]:
        """Run it; give its exit code, its lines and its complaints."""
        out, err = io.BytesIO(), io.StringIO()
        code = main([f"--directory={self.directory}", *argv], out, err)
        return code, out.getvalue().decode().splitlines(), err.getvalue()

    def harm(self) -> None:
        """Damage one job."""
        self.change_job(job(1), lambda text: text + b"torn")

    def test_clean(self) -> None:
        """A clean store is a success, whether it is to be repaired or not."""
        self.assertEqual((0, ["5 jobs, nothing amiss"], ""), self.call())
        self.assertEqual((0, ["5 jobs, nothing amiss"], ""), self.call("--repair"))
        code, lines, _ = self.call("--json")
        self.assertEqual((0, [{"jobs": 5, "findings": 0}]), (code, [*map(_read, lines)]))

    def test_findings(self) -> None:
        """Each finding says where it is, what was found, and what a repair would do."""
        self.harm()
        code, lines, err = self.call()
        self.assertEqual((1, ""), (code, err))
        self.assertEqual("5 jobs, 1 finding", lines[1])
        self.assertIn(": torn line: 4 bytes follow the last whole line; --repair keeps", lines[0])

    def test_json(self) -> None:
        """The same for programs."""
        self.harm()
        code, lines, _ = self.call("--json")
        finding, last = map(_read, lines)
        self.assertEqual(1, code)
        self.assertEqual(("torn_line", job(1)), (finding["kind"], finding["job"]))
        self.assertEqual({"jobs": 5, "findings": 1}, last)

    def test_repair(self) -> None:
        """What was found is told; if all of it was repaired that is a success."""
        self.harm()
        code, lines, err = self.call("--repair")
        self.assertEqual((0, ""), (code, err))
        self.assertIn("torn line", lines[0])
        self.assertEqual("5 jobs, 1 finding, all repaired", lines[1])
        self.assertEqual((0, ["5 jobs, nothing amiss"], ""), self.call())

    def test_not_repaired(self) -> None:
        """What couldn't be repaired is told once more, with the reason, and counted."""
        paper = io.BytesIO()
        finding = Finding("permissions", "a/b", "mode 0644, expected 0600")
        for json, expected in (
            (False, "not repaired (Operation not permitted): a/b: permissions"),
            (True, '"repaired":false,"reason":"Operation not permitted"'),
        ):
            page = Paper(paper, json=json, carries_on=True)
            page.remains(finding, "Operation not permitted")
            page.summary(3, 2, 1)
            self.assertIn(expected, paper.getvalue().decode())
        self.assertIn("3 jobs, 2 findings, 1 not repaired\n", paper.getvalue().decode())
        self.assertIn('{"jobs":3,"findings":2,"remaining":1}\n', paper.getvalue().decode())

    def test_newer(self) -> None:
        """A store of a newer version isn't touched: that is a failure."""
        one, two = b'"harpcaller_job":1', b'"harpcaller_job":2'
        self.change_job(job(1), lambda text: text.replace(one, two))
        code, _, err = self.call("--repair")
        self.assertEqual(2, code)
        self.assertIn("nothing was changed", err)

    def test_in_use(self) -> None:
        """While a daemon uses the store it isn't even looked at."""
        with open(self.path("lock"), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for argv in ((), ("--repair",)):
                code, lines, err = self.call(*argv)
                self.assertEqual((2, []), (code, lines))
                self.assertIn("the store is in use", err)

    def test_no_store(self) -> None:
        """What isn't there, or isn't a store, can't be checked."""
        for directory in ("/nonexistent", os.path.dirname(__file__)):
            self.directory = directory
            for argv in ((), ("--repair",)):
                code, lines, err = self.call(*argv)
                self.assertEqual((2, []), (code, lines))
                self.assertIn(directory, err)

    def test_configuration(self) -> None:
        """The store is the one that the configuration names; its mistakes are told."""
        err = io.StringIO()
        self.assertEqual(2, main(["--config=/nonexistent"], io.BytesIO(), err))
        self.assertIn("/nonexistent", err.getvalue())
        config = self.path("../c.toml")
        with open(config, "w") as file:
            file.write(f'stream_directory = "{self.directory}"\n')
            file.write('host_db = "/x"\nhost_db_script = "/y"\n')
        out = io.BytesIO()
        self.assertEqual(0, main([f"--config={config}"], out, err))
        self.assertEqual(b"5 jobs, nothing amiss\n", out.getvalue())


def _read(line: str) -> dict[str, object]:
    found = decode(line.encode())
    assert isinstance(found, dict)
    return found


class WordsTests(HouseCase):
    def test_every_kind_can_be_told(self) -> None:
        """In text and in JSON."""
        for kind in KINDS:
            finding = Finding(kind, "a/b", "what was found")
            self.assertIn("a/b: ", as_text(finding))
            self.assertEqual(kind, _read(as_json(finding).decode())["kind"])

    def test_strange_names(self) -> None:
        """A file's name can't play tricks on a terminal, nor can it break a line."""
        self.assertEqual(r"a\x1bb\nc", shown("a\x1bb\nc"))
        self.assertEqual(r"\xff", shown(os.fsdecode(b"\xff")))
        self.assertEqual("Zoë", shown("Zoë"))
