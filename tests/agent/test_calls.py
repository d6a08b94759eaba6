"""Which calls run now, and whether one more may."""

from __future__ import annotations

import errno

from twisted.internet.defer import Deferred

from harpcaller.agent.calls import Calls
from harpcaller.agent.library import Library
from harpcaller.agent.orders import Load
from harpcaller.errors import (
    InvalidArgumentList,
    NoSuchProcedure,
    ProcedureLoadingError,
    Shutdown,
    SystemUnable,
    WireError,
)
from harpcaller.logs.events import EventLog
from tests.agent.fakes import FakeCaller, FakeTemplate, asked, described
from tests.house import HouseCase

LOG = EventLog("agent")


class CallsTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.template = FakeTemplate(
            {
                "ticks": described("ticks", streaming=True),
                "plain": described("plain", like=lambda a: a),
            }
        )
        self.library = Library(self.start, self.clock, LOG)
        self.calls = Calls(self.library, self.clock, most=2, grace_seconds=5.0, log=LOG)
        self.caller = FakeCaller()

    async def start(self, order: Load, lost: object) -> FakeTemplate:
        return self.template

    def load(self) -> None:
        loaded = Deferred.fromCoroutine(self.library.load(Load("x")))
        self.assertTrue(self.successResultOf(loaded))

    def refused(self, error: type[WireError], procedure: str, arguments: bytes = b"[]") -> str:
        with self.assertRaises(error) as caught:
            self.calls.begin(asked(procedure, arguments), self.caller, "peer")
        self.assertEqual(b"", self.caller.told, "no acknowledgement")
        message: str = caught.exception.message
        return message

    def test_acknowledged_and_started(self) -> None:
        """The caller hears at once whether records may come; the process gets the arguments."""
        self.load()
        self.calls.begin(asked("ticks"), self.caller, "peer")
        self.assertEqual(b'{"harp":1,"stream_result":true}\n', self.caller.told)
        other = FakeCaller()
        self.calls.begin(asked("plain", b"[1e5]"), other, "peer")
        self.assertEqual(b'{"harp":1,"stream_result":false}\n', other.told)
        second = self.template.processes[1]
        self.assertEqual(("plain", b"[1e5]"), (second.name, second.arguments))
        self.assertEqual(2, len(self.calls))

    def test_refusals(self) -> None:
        """What can't run is refused, and nothing is started."""
        self.refused(ProcedureLoadingError, "ticks")
        self.load()
        self.assertIn("'nix'", self.refused(NoSuchProcedure, "nix"))
        self.refused(InvalidArgumentList, "plain", b"[1,2]")
        self.template.broken = OSError(errno.EMFILE, "Too many open files")
        self.assertIn("Too many open files", self.refused(SystemUnable, "ticks"))
        self.assertEqual(0, len(self.calls))

    def test_as_many_as_allowed(self) -> None:
        """More calls than allowed are refused at once; a place is free when a process is gone."""
        self.load()
        for _ in range(2):
            self.calls.begin(asked("ticks"), FakeCaller(), "peer")
        self.assertIn("max_calls", self.refused(SystemUnable, "ticks"))
        first = self.template.processes[0].events
        first.answered(b'{"result":1}\n')
        self.refused(SystemUnable, "ticks")
        first.exited("normally")
        self.calls.begin(asked("ticks"), self.caller, "peer")
        for process in self.template.processes[1:]:
            process.events.exited("dead")

    def test_stop(self) -> None:
        """A stopping agent takes no new calls, ends those that run, and knows when all ended."""
        self.load()
        self.calls.begin(asked("ticks"), FakeCaller(), "peer")
        self.calls.refuse_more()
        self.refused(Shutdown, "ticks")
        waiting = self.calls.idle()
        given_up = self.calls.idle()
        given_up.cancel()
        self.failureResultOf(given_up)
        self.calls.shut_down()
        self.assertEqual(1, len(self.template.processes[0].ends))
        self.assertNoResult(waiting)
        self.template.processes[0].events.exited("by a signal")
        self.successResultOf(waiting)
        self.successResultOf(self.calls.idle())
