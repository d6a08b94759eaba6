"""The fake process runner does what the real one does."""

from __future__ import annotations

from typing import cast

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from harpcaller.interfaces import IProcessRunner
from harpcaller.testing.processes import FakeProcessRunner, Program
from tests.hosts.runner_contract import MAX_OUTPUT, RunnerContract


class FakeRunnerTests(RunnerContract, TestCase):
    def setUp(self) -> None:
        self.fake = FakeProcessRunner(cast(IReactorTime, reactor), max_output=MAX_OUTPUT)
        self.runner = self.fake

    def install(self, program: Program) -> str:
        path = f"/program/{len(self.fake.programs)}"
        self.fake.programs[path] = program
        return path

    def missing(self) -> str:
        return "/missing"

    def test_provides_the_interface(self) -> None:
        """It can stand wherever the real one stands."""
        self.assertTrue(verifyObject(IProcessRunner, self.fake))

    async def test_counts_what_runs(self) -> None:
        """Tests can ask whether two ran at once."""
        _ = await self.ended(Program())
        _ = await self.ended(Program())
        self.assertEqual([("/program/0",), ("/program/1",)], self.fake.started)
        self.assertEqual((0, 1), (self.fake.running, self.fake.most_running))
