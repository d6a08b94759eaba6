"""Whom procedures run as, for real; that takes root."""

from __future__ import annotations

import os
from typing import Any

from twisted.trial.unittest import SkipTest

from harpcaller.agent.orders import Load
from harpcaller.wire.ending import Failed
from tests.system.agent_processes import ProcessCase

PROCEDURES = """
import os, subprocess
from harpd.proc import Procedure, Result, StreamingProcedure, procedure, streaming_procedure

def about():
    status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
    program = subprocess.run(["id", "-u"], capture_output=True, text=True).stdout
    return {
        "users": list(os.getresuid()), "groups": list(os.getresgid()),
        "all": sorted(os.getgroups()), "program": int(program),
        "rights": int(status["CapEff"], 16), "home": os.environ.get("HOME"),
        "user": os.environ.get("USER"),
    }

@procedure
def who():
    return about()

@procedure(uid="nobody")
def by_name():
    return about()

@procedure(uid=65534)
def by_number():
    return about()

@procedure(uid=3_999_999)
def by_number_without_account():
    return about()

@procedure(uid=3_999_999, gid=[7, "tty"])
def with_groups():
    return about()

@procedure(uid=3_999_999, gid=7)
def with_one_group():
    return about()

@procedure(gid=7)
def only_group():
    return about()

@streaming_procedure(uid="nobody", gid=[7, 8])
def streaming():
    yield about()
    yield Result(about())

class AsNobody(StreamingProcedure):
    uid = "nobody"

    def __init__(self):
        pass

    def __call__(self):
        yield Result(about())

subclass = AsNobody()

@procedure(uid="no-such-user")
def as_nobody_at_all():
    print("never")

@procedure(gid="no-such-group")
def in_no_group_at_all():
    print("never")

@procedure(uid="nobody")
def back():
    for become in (os.setuid, os.seteuid, os.setgid, lambda n: os.setgroups([n])):
        try:
            become(0)
        except PermissionError:
            pass
        else:
            return "root again"
    return os.access("/etc/shadow", os.R_OK)
"""

#: A numbered user without an account; and nobody's group.
NUMBER, NOGROUP = 3_999_999, 65534


class UserTests(ProcessCase):
    procedures = PROCEDURES

    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can become others")
        super().setUp()

    def assert_is(self, found: Any, user: int, group: int, groups: list[int]) -> None:
        self.assertEqual(
            {"users": [user] * 3, "groups": [group] * 3, "all": groups, "program": user},
            {key: found[key] for key in ("users", "groups", "all", "program")},
        )
        if user != 0:
            self.assertEqual(0, found["rights"], "none of root's rights is left")

    async def test_by_name_and_by_number(self) -> None:
        """A user with an account has the groups of that account, and none of root's."""
        await self.load()
        for name in ("by_name", "by_number", "subclass"):
            found = await self.value_of(name)
            self.assert_is(found, 65534, NOGROUP, [NOGROUP])
            self.assertEqual(("/nonexistent", "nobody"), (found["home"], found["user"]))

    async def test_groups_as_asked(self) -> None:
        """A list of groups, by name or number, is exactly what the process gets."""
        await self.load()
        self.assert_is(await self.value_of("with_groups"), NUMBER, 7, [5, 7])
        found = await self.value_of("with_one_group")
        self.assert_is(found, NUMBER, 7, [7])
        self.assertEqual((None, None), (found["home"], found["user"]), "those were root's")
        self.assert_is(await self.value_of("only_group"), 0, 7, [7])

    async def test_streaming(self) -> None:
        """A streaming procedure runs as its user from its first record on."""
        await self.load()
        _, events = self.begin("streaming")
        await events.over
        self.assert_is(events.records[0], 65534, 7, [7, 8])

    async def test_not_to_be_had(self) -> None:
        """Who can't be had is an error that names him, and nothing runs."""
        await self.load()
        for name, told in (
            ("as_nobody_at_all", "there is no user 'no-such-user'"),
            ("in_no_group_at_all", "there is no group 'no-such-group'"),
            (
                "by_number_without_account",
                f"user {NUMBER} has no account, so a gid is needed too",
            ),
        ):
            self.assertEqual(Failed("system_error", told), await self.ending_of(name))
        self.assertEqual([], self.logged("agent.procedure_printed"))

    async def test_no_way_back(self) -> None:
        """Whoever has become another user stays that."""
        await self.load()
        self.assertIs(False, await self.value_of("back"))

    async def test_default_user(self) -> None:
        """Procedures that ask for nobody run as the default user."""
        await self.load(Load(str(self.file), uid="nobody", gid=9))
        self.assert_is(await self.value_of("who"), 65534, 9, [9])

    async def test_only_a_group_with_a_default_user(self) -> None:
        """A procedure that asks only for a group doesn't become root by that."""
        await self.load(Load(str(self.file), uid="nobody", gid=9))
        self.assert_is(await self.value_of("only_group"), 65534, 7, [7])

    async def test_a_user_with_a_default_group(self) -> None:
        """A procedure that asks for a user has that user's groups, not the default one."""
        await self.load(Load(str(self.file), uid="daemon", gid=9))
        self.assert_is(await self.value_of("by_name"), 65534, NOGROUP, [NOGROUP])


class UserWithoutCgroupsTests(UserTests):
    """The same, where calls have keepers."""

    cgroups = False
