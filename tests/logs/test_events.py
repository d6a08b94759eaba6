"""Work that nobody waits for doesn't fail in silence."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed

from harpcaller.logs.events import EventLog, forget
from tests.house import HouseCase


class ForgetTests(HouseCase):
    def test_failure_is_logged_as_a_bug(self) -> None:
        """The traceback is in the log."""
        forget(fail(ValueError("x")), EventLog("room"), "work.failed")
        (failure,) = self.flushLoggedErrors(ValueError)
        self.assertEqual("x", str(failure.value))

    def test_success_and_cancelling_are_quiet(self) -> None:
        """What ends as meant needs no word."""
        forget(succeed(None), EventLog("room"), "work.failed")
        work: Deferred[object] = Deferred()
        forget(work, EventLog("room"), "work.failed")
        work.cancel()
