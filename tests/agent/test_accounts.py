"""Whom a procedure runs as."""

from __future__ import annotations

import os
import pwd

from harpcaller.agent.accounts import Identity, NoAccount, find
from tests.house import HouseCase

NO_ACCOUNT = 3_999_999_999


class FindTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.me = pwd.getpwuid(os.geteuid())

    def test_nothing_asked(self) -> None:
        """Without a wish nobody is looked up."""
        self.assertIsNone(find(None, None))

    def test_user_has_own_groups(self) -> None:
        """A user's groups are those of the account, the main one first, by name and number."""
        by_name = find(self.me.pw_name, None)
        assert by_name is not None
        self.assertEqual(self.me.pw_gid, by_name.gid)
        self.assertEqual(self.me.pw_gid, by_name.groups[0])
        self.assertEqual(set(os.getgrouplist(self.me.pw_name, self.me.pw_gid)), set(by_name.groups))
        self.assertEqual(by_name, find(self.me.pw_uid, None))

    def test_groups_given(self) -> None:
        """Groups that are asked for are all that the process gets."""
        self.assertEqual(
            Identity(self.me.pw_uid, 5, (5, 6), self.me.pw_name, self.me.pw_dir),
            find(self.me.pw_name, [5, 6]),
        )
        only_group = find(None, 5)
        assert only_group is not None
        self.assertEqual((os.geteuid(), 5), (only_group.uid, only_group.gid))

    def test_number_without_account(self) -> None:
        """A number that is no account needs a group: it must not keep the agent's."""
        self.assertEqual(Identity(NO_ACCOUNT, 7, (7,), None, None), find(NO_ACCOUNT, 7))
        with self.assertRaisesRegex(NoAccount, "a gid is needed"):
            find(NO_ACCOUNT, None)

    def test_unknown(self) -> None:
        """Names that don't exist are told."""
        with self.assertRaisesRegex(NoAccount, "no user 'no-such-user'"):
            find("no-such-user", None)
        with self.assertRaisesRegex(NoAccount, "no group 'no-such-group'"):
            find(None, "no-such-group")
        with self.assertRaises(NoAccount):
            find(2**70, None)
