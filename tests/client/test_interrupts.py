"""^C, held back."""

from __future__ import annotations

import signal
import threading

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.client.interrupts import HeldInterrupts


class HeldInterruptsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.said: list[str] = []
        self.behave(signal.default_int_handler)

    def behave(self, how: object) -> None:
        """Let ^C do this."""
        before = signal.signal(signal.SIGINT, how)  # type: ignore[arg-type]  # a handler
        self.addCleanup(signal.signal, signal.SIGINT, before)

    def held(self) -> HeldInterrupts:
        return HeldInterrupts(lambda: self.said.append("held"))

    def press(self) -> None:
        """Press ^C."""
        signal.raise_signal(signal.SIGINT)

    def test_none(self) -> None:
        """Nothing happens, and then ^C is as it was."""
        with self.held() as held:
            held.let_through()
        self.assertEqual([], self.said)
        self.assertRaises(KeyboardInterrupt, self.press)

    def test_first_waits(self) -> None:
        """It is told, and raised when it may be; once."""
        with self.held() as held:
            self.press()
            self.assertEqual((["held"], True), (self.said, held.came))
            self.assertRaises(KeyboardInterrupt, held.let_through)
            held.let_through()

    def test_second_does_not_wait(self) -> None:
        """Whoever presses it twice means it."""

        def twice() -> None:
            with self.held():
                self.press()
                self.press()

        self.assertRaises(KeyboardInterrupt, twice)
        self.assertIs(signal.default_int_handler, signal.getsignal(signal.SIGINT))

    def test_let_through(self) -> None:
        """From then on nothing waits."""
        with self.held() as held:
            held.let_through()
            self.assertRaises(KeyboardInterrupt, self.press)

    def test_ignored(self) -> None:
        """``nohup`` stays what it is."""
        self.behave(signal.SIG_IGN)
        with self.held() as held:
            self.press()
            held.let_through()
        self.assertEqual([], self.said)

    def test_in_another_thread(self) -> None:
        """It isn't interrupted there anyway."""
        done: list[bool] = []

        def elsewhere() -> None:
            with self.held() as held:
                held.let_through()
                done.append(True)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        self.assertEqual([True], done)
