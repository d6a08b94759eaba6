"""What every process runner does; the fake's tests and the real one's both run this."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError

from harpcaller.interfaces import IProcessRunner, ProcessEnded
from harpcaller.testing.processes import Program

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase
else:
    TestCase = object

#: How much the runner under test lets a program print.
MAX_OUTPUT = 100_000


class RunnerContract(TestCase):
    """Mixed into a trial test case."""

    runner: IProcessRunner

    def install(self, program: Program) -> str:
        """Make a program that can be run, and tell its path."""
        raise NotImplementedError

    def missing(self) -> str:
        """Give the path of nothing."""
        raise NotImplementedError

    async def ended(self, program: Program, timeout_seconds: float = 60) -> ProcessEnded:
        """Run a program to its end."""
        self.said: list[bytes] = []
        ended: ProcessEnded = await self.runner.run(
            [self.install(program)], error_line=self.said.append, timeout_seconds=timeout_seconds
        )
        return ended

    async def test_output_is_collected(self) -> None:
        """What it prints comes back as it was."""
        ended = await self.ended(Program(output=b"one\n\xfftwo"))
        self.assertEqual(ProcessEnded(0, None, b"one\n\xfftwo"), ended)
        self.assertEqual([], self.said)

    async def test_errors_come_line_by_line(self) -> None:
        """What it complains of goes to the log as it wrote it."""
        _ = await self.ended(Program(errors=[b"first", b"", b"last"]))
        self.assertEqual([b"first", b"", b"last"], self.said)

    async def test_exit_code(self) -> None:
        """A failure is told, and what was printed before it."""
        ended = await self.ended(Program(output=b"some", exit_code=3))
        self.assertEqual(ProcessEnded(3, None, b"some"), ended)

    async def test_signal(self) -> None:
        """A crash is told apart from an exit."""
        ended = await self.ended(Program(exit_code=None, signal=11))
        self.assertEqual(ProcessEnded(None, 11, b""), ended)

    async def test_what_runs_too_long_is_ended(self) -> None:
        """A hanging script doesn't hang for ever."""
        ended = await self.ended(Program(seconds=None), timeout_seconds=0.3)
        self.assertEqual("it ran longer than 0.3 seconds", ended.killed_because)

    async def test_what_prints_too_much_is_ended(self) -> None:
        """A script gone wild doesn't fill the memory."""
        ended = await self.ended(Program(output=b"x" * (MAX_OUTPUT + 1)))
        self.assertEqual(f"it printed more than {MAX_OUTPUT} bytes", ended.killed_because)
        self.assertEqual(b"", ended.output)

    async def test_what_prints_just_enough_is_fine(self) -> None:
        """The bound is the last that is allowed."""
        ended = await self.ended(Program(output=b"x" * MAX_OUTPUT))
        self.assertIsNone(ended.killed_because)
        self.assertEqual(MAX_OUTPUT, len(ended.output))

    async def test_what_is_not_there_is_an_error(self) -> None:
        """The path is told, and the system's reason."""
        path = self.missing()
        running = self.runner.run([path], error_line=lambda _: None, timeout_seconds=60)
        with self.assertRaises(FileNotFoundError) as caught:
            await running
        self.assertEqual(path, caught.exception.filename)
        self.assertEqual("No such file or directory", caught.exception.strerror)

    async def test_cancelled_one_fails_when_it_is_gone(self) -> None:
        """Who stops the daemon can wait for the script's end."""
        running = self.runner.run(
            [self.install(Program(seconds=None))],
            error_line=lambda _: None,
            timeout_seconds=60,
        )
        running.cancel()
        self.assertNoResult(running)
        with self.assertRaises(CancelledError):
            await running

    async def test_cancelled_twice_fails_at_once(self) -> None:
        """Who is in a hurry need not wait."""
        running = self.runner.run(
            [self.install(Program(seconds=None))],
            error_line=lambda _: None,
            timeout_seconds=60,
        )
        running.cancel()
        running.cancel()
        _ = self.failureResultOf(running, CancelledError)
        # One that ends after it, so that nothing is left when the test is over.
        _ = await self.ended(Program(seconds=0.5))
