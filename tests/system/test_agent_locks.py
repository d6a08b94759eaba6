"""Locks and who calls, as callers see them: the real command, real TLS, real processes."""

from __future__ import annotations

from itertools import pairwise

from tests.system.agents import USER, AgentCase, Client


class LockTests(AgentCase):
    def sleep(self, seconds: float) -> Client:
        """Ask, and hear that it is taken."""
        client = self.client().send("sleeps_alone", [seconds])
        self.assertEqual({"harp": 1, "stream_result": False}, client.line())
        return client

    def test_one_after_the_other(self) -> None:
        """Callers are acknowledged at once, and served one by one in their order."""
        clients = [self.sleep(0.2) for _ in range(3)]
        times = [client.line()["result"] for client in clients]
        for before, after in pairwise(times):
            self.assertLessEqual(before[1], after[0])

    def test_given_up(self) -> None:
        """A caller that goes while it waits, or while it has the lock, holds nobody up."""
        first, second, third = self.sleep(1000), self.sleep(1000), self.sleep(0)
        second.close()
        first.close()
        self.assertIn("result", third.line())


class CallInfoTests(AgentCase):
    def test_who_calls(self) -> None:
        """A procedure is told who calls, by the agent and not by the caller."""
        user, peer, number, word = self.call("who_calls", ["hello"])[-1]["result"]
        self.assertEqual((USER, "127.0.0.1", "hello"), (user, peer, word))
        self.assertIsInstance(number, int)
        told = self.error("who_calls", {"call": {"user": "root", "peer": "", "id": 1}})
        self.assertEqual("invalid_argument_list", told["type"])
