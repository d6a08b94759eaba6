"""Losing rights; tests/system/test_separation.py does it for real."""

from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path
from typing import Any

from harpcaller.agent import keeper
from harpcaller.agent.accounts import Identity
from harpcaller.agent.separation import confinement
from harpcaller.agent.separation.confinement import confine
from tests.house import HouseCase

SOMEBODY = Identity(70, 71, (71,), None, None)


class ConfineTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.done: list[Any] = []
        self.patch(tempfile, "tempdir", self.mktemp())
        self.place = Path(str(tempfile.tempdir))
        self.place.mkdir()
        self.patch(os, "fchdir", lambda folder: self.done.append("enter"))
        self.patch(os, "chroot", self.chroot)
        self.patch(confinement, "become", self.done.append)
        self.patch(keeper, "call_system", lambda name, *_: self.done.append(name))
        self.patch(keeper, "prctl", lambda what, value: self.done.append((what, value)))
        self.patch(resource, "setrlimit", lambda limit, values: self.done.append(limit))
        self.patch(keeper, "die_with", lambda parent: self.done.append(f"dies with {parent}"))

    def chroot(self, folder: str) -> None:
        # It has no name any more.
        self.assertEqual((".", []), (folder, os.listdir(self.place)))
        self.done.append("chroot")

    def test_order(self) -> None:
        """The root first, then the user, then what becoming another would undo."""
        self.assertEqual("user 70, an empty root, no new processes", confine(SOMEBODY, 42))
        lost = ["capset", (38, 1), (4, 0), resource.RLIMIT_NPROC, resource.RLIMIT_CORE]
        self.assertEqual(["enter", "chroot", SOMEBODY, *lost, "dies with 42"], self.done)

    def test_without_the_capability(self) -> None:
        """Root that may not change its root becomes another user all the same."""

        def refuse(folder: str) -> None:
            raise PermissionError

        self.patch(os, "chroot", refuse)
        self.assertEqual("user 70, no chroot, no new processes", confine(SOMEBODY, 42))
        self.assertIn(SOMEBODY, self.done)
        self.assertEqual([], os.listdir(self.place))

    def test_nowhere_to_make_a_folder(self) -> None:
        """So does one who has no place for an empty folder."""
        self.place.rmdir()
        self.assertEqual("user 70, no chroot, no new processes", confine(SOMEBODY, 42))
        self.assertNotIn("chroot", self.done)

    def test_nobody_else(self) -> None:
        """Who stays who he is stays where he is, and loses what everybody can."""
        self.assertEqual(f"user {os.geteuid()}, no new processes", confine(None, 42))
        self.assertEqual(["capset", (38, 1), (4, 0)], self.done[:3])
        self.assertEqual("dies with 42", self.done[-1])


class SystemTests(HouseCase):
    def test_refused(self) -> None:
        """What the system doesn't do is an error, with its reason."""
        with self.assertRaises(OSError) as caught:
            keeper.prctl(-1, 0)
        self.assertEqual("Invalid argument", caught.exception.strerror)
