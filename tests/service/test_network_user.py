"""Whom the process that strangers talk to runs as."""

from __future__ import annotations

import os
import pwd

from harpcaller.agent.accounts import NoAccount
from harpcaller.agent.separation.table import Confine
from harpcaller.service.network_user import network_user
from tests.house import HouseCase


class NetworkUserTests(HouseCase):
    def accounts(self, **uids: int) -> None:
        """Let there be these users only."""

        def find(user: str) -> pwd.struct_passwd:
            return pwd.struct_passwd((user, "x", uids[user], uids[user] + 1, "", "/", ""))

        self.patch(pwd, "getpwnam", find)
        self.patch(os, "getgrouplist", lambda name, group: [group])

    def test_usual(self) -> None:
        """By default it is a user of its own, if there is one."""
        self.accounts(harpd=70, nobody=99)
        found = network_user(None, 0)
        self.assertEqual((Confine(True, 70, 71), "harpd"), (found.confine, found.name))
        self.assertIsNone(found.advice)

    def test_nobody(self) -> None:
        """Otherwise it is nobody, with advice."""
        self.accounts(nobody=99)
        found = network_user(None, 0)
        self.assertEqual((Confine(True, 99, 100), "nobody"), (found.confine, found.name))
        self.assertIn("useradd", str(found.advice))

    def test_not_even_nobody(self) -> None:
        """There has to be one."""
        self.accounts()
        self.assertIn("nobody", str(self.assertRaises(NoAccount, network_user, None, 0)))

    def test_named(self) -> None:
        """Whoever is named is taken, or isn't there."""
        self.accounts(me=7)
        self.assertEqual(Confine(True, 7, 8), network_user("me", 0).confine)
        self.assertIn("'you'", str(self.assertRaises(NoAccount, network_user, "you", 0)))

    def test_root(self) -> None:
        """Root is told that this confines nothing."""
        self.accounts(root=0)
        found = network_user("root", 0)
        self.assertFalse(found.confine.changes)
        self.assertIn("isn't confined", str(found.advice))

    def test_agent_without_root(self) -> None:
        """Without root nobody becomes another."""
        self.accounts(me=7, you=8)
        for wanted in (None, "me"):
            self.assertFalse(network_user(wanted, 7).confine.changes)
        told = str(self.assertRaises(NoAccount, network_user, "you", 7))
        self.assertEqual("only root can become user 'you'; harpd runs as user 7", told)
