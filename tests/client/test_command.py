"""``harp``, as far as it needs no dispatcher."""

from __future__ import annotations

import errno
import io
import os
import tempfile
from typing import NoReturn

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.client.command import main


class BadOutput(io.StringIO):
    """An output that can't be written to."""

    def __init__(self, error: OSError, descriptor: int | None) -> None:
        super().__init__()
        self._error = error
        self._descriptor = descriptor

    def flush(self) -> NoReturn:
        raise self._error

    def fileno(self) -> int:
        if self._descriptor is None:
            raise io.UnsupportedOperation
        return self._descriptor


class OutputTests(SynchronousTestCase):
    """Help is output too."""

    def helped(self, error: OSError, descriptor: int | None = None) -> tuple[int, str]:
        """Ask for help on an output that fails."""
        err = io.StringIO()
        return main(["--help"], BadOutput(error, descriptor), err, {}), err.getvalue()

    def test_nobody_reads(self) -> None:
        """It ends quietly, with the code that a shell gives for it."""
        self.assertEqual((141, ""), self.helped(BrokenPipeError()))

    def test_disk_full(self) -> None:
        """It is said."""
        full = OSError(errno.ENOSPC, "No space left on device")
        self.assertEqual((2, "harp: cannot write: No space left on device\n"), self.helped(full))

    def test_nothing_is_written_at_the_end(self) -> None:
        """What Python still holds back for that output goes nowhere."""
        with tempfile.TemporaryFile() as output:
            self.helped(BrokenPipeError(), output.fileno())
            self.assertTrue(os.path.samestat(os.stat(os.devnull), os.fstat(output.fileno())))


class UsageTests(SynchronousTestCase):
    """What is wrong with the words of a command."""

    def test_mistake(self) -> None:
        """Exit code 2, usage on standard error."""
        out, err = io.StringIO(), io.StringIO()
        self.assertEqual(2, main(["bogus"], out, err, {}))
        self.assertEqual("", out.getvalue())
        self.assertIn("usage: harp", err.getvalue())
