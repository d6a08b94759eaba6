"""A process of its own logs as it should from beginning to end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

from harpcaller.wire.values import decode

PROGRAM = """
import sys
from pathlib import Path
from twisted.internet.defer import fail
from harpcaller.logs.events import EventLog, forget
from harpcaller.logs.observers import start_logging

log = EventLog("room")
log.info("early", job="1")
setup = start_logging(["stdout"], Path(sys.argv[1]), "json")
setup.begin()
log.warn("late", said="two\\nlines")
forget(fail(ValueError("a\\nbug")), log, "work.failed")
print("printed")
fail(RuntimeError("nobody looked")) and None
setup.stop()
log.info("after")
"""


class LoggingTests(TestCase):
    timeout = 120

    def test_events_of_a_process(self) -> None:
        """Early ones, bugs and the library's own come out; what is printed stays as it is."""
        file = Path(self.mktemp()).absolute()
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(file)], capture_output=True, check=False
        )
        self.assertEqual((0, b""), (done.returncode, done.stderr))
        lines = file.read_bytes().splitlines()
        self.assertEqual(lines, [x for x in done.stdout.splitlines() if x != b"printed"])
        self.assertIn(b"printed", done.stdout.splitlines())
        events = [decode(line) for line in lines]
        self.assertEqual(
            [("info", "early"), ("warn", "late"), ("critical", "work.failed")],
            [(event["level"], event["kind"]) for event in events[:3]],
        )
        self.assertIn("ValueError: a\nbug", events[2]["context"]["traceback"])
        unlooked = events[-1]
        self.assertEqual("twisted", unlooked["kind"])
        self.assertIn("nobody looked", str(unlooked["context"]))
