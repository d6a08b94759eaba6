"""kill -9 at any moment: what was written stays, and the next one takes over."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.system.multilog_tools import PATIENCE, LoggerCase

REPOSITORY = Path(__file__).parents[2]


class EveryStepTests(LoggerCase):
    """Killed between any two steps."""

    def survivors(self, *script: str) -> list[bytes]:
        """Kill at every step; gives what the log directories have then, step by step."""
        data = b"".join(b"%09d\n" % number for number in range(500))
        source = self.folder / "input"
        source.write_bytes(data)
        done = subprocess.run(
            [sys.executable, "-P", "-m", "tests.system.dying_multilog", source, *script],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )
        self.assertEqual((0, ""), (done.returncode, done.stderr.decode()))
        folders = sorted(
            (one for one in self.folder.iterdir() if one.name.isdigit()),
            key=lambda one: int(one.name),
        )
        found = []
        for folder in folders:
            place = f"{folder.name}/main"
            found.append(self.everything(place))
            self.assertTrue(data.startswith(found[-1]), f"step {folder.name}")
            if folder != folders[-1]:
                self.assertEqual(
                    ["current", "lock", "state"],
                    sorted(
                        set(os.listdir(self.folder / place)) - {p.name for p in self.old(place)}
                    ),
                )
        self.assertEqual(data, found[-1])
        return found

    def test_rotation(self) -> None:
        """Nothing that was written is lost, nothing is there twice, nothing is left behind."""
        found = self.survivors("s4096", "n9", "./main")
        self.assertEqual(sorted(found, key=len), found)
        self.assertGreater(len(found), 20)

    def test_processor(self) -> None:
        """Nor with a processor, at whose death its file is kept unprocessed."""
        found = self.survivors("s4096", "n9", "!cat", "./main")
        self.assertEqual(sorted(found, key=len), found)
        self.assertGreater(len(found), 40)


class AnyMomentTests(LoggerCase):
    """Killed at any moment while a service writes as fast as it can."""

    def test_any_moment(self) -> None:
        """Of what it took at most what it was just about to write is lost."""
        kills = int(os.environ.get("MULTILOG_KILLS", "5"))
        chance = random.Random(7)
        stop = threading.Event()
        written = 0

        def service(pipe: int) -> None:
            nonlocal written
            while not stop.is_set():
                lines = b"".join(b"%09d\n" % number for number in range(written, written + 50))
                os.write(pipe, lines)
                written += 50

        logger = self.logger("s4096", "n1000000", "./main")
        thread = threading.Thread(target=service, args=(logger.pipe[1],), daemon=True)
        thread.start()
        try:
            for _ in range(kills):
                self.until(lambda: self.current() or self.old())
                time.sleep(chance.random() / 5)
                logger.process.kill()
                logger.wait()
                logger = self.logger("s4096", "n1000000", "./main", pipe=self.hand_over(logger))
        finally:
            # The pipe has a reader still, so it can't block for good.
            stop.set()
            thread.join(PATIENCE)
        self.assertEqual(0, logger.end())
        self.assertEqual([], [one for one in os.listdir(self.main) if one.startswith("p")])
        missing = 0
        expected = 0
        for line in self.everything().split(b"\n"):
            # What is torn ends with its file: the next line follows without a newline.
            if len(line) == 9:
                self.assertGreaterEqual(int(line), expected, "it is there twice")
                missing += int(line) - expected
                expected = int(line) + 1
        self.assertEqual(written, expected)
        self.assertLessEqual(missing, kills * (65536 // 10 + 2))
