"""The registry's file is enough to start with, or is set aside."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harpcaller.hosts.cache import Cache, Cached
from harpcaller.hosts.entries import entry_line
from harpcaller.interfaces import Host
from tests.hosts.recording import RecordingLog
from tests.hosts.test_entries import SECRET, WEB01, hosts
from tests.house import HouseCase


class CacheCase(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)
        self.path = self.folder / "hosts.db"
        self.log = RecordingLog()
        self.cache = Cache(self.path, self.log)

    def write(self, *known: Host, at: float = 1000.5) -> None:
        for _ in self.cache.steps(known, at):
            pass

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


class WriteTests(CacheCase):
    def test_what_was_written_is_read(self) -> None:
        """A restart knows the same hosts, and how old they are."""
        self.write(WEB01)
        self.assertEqual(Cached((WEB01,), 1000.5), self.cache.read())
        self.assertEqual(["hosts.db"], self.names())

    def test_empty_registry(self) -> None:
        """No hosts is something to know, too."""
        self.write()
        self.assertEqual(Cached((), 1000.5), self.cache.read())

    def test_only_the_owner_may_read(self) -> None:
        """It holds passwords; the mode of an older file doesn't matter."""
        self.path.write_text("old")
        self.path.chmod(0o644)
        self.write(WEB01)
        self.assertEqual(0o600, self.path.stat().st_mode & 0o777)

    def test_left_over_of_a_power_cut_is_no_hindrance(self) -> None:
        """Nor is its mode inherited."""
        beside = self.folder / "hosts.db.new"
        beside.write_text("half")
        beside.chmod(0o644)
        self.write(WEB01)
        self.assertEqual(["hosts.db"], self.names())
        self.assertEqual(0o600, self.path.stat().st_mode & 0o777)

    def test_writing_that_is_broken_off_changes_nothing(self) -> None:
        """The old file is whole until the new one is."""
        self.write()
        steps = self.cache.steps((WEB01,), 2000)
        next(steps)
        self.assertEqual(["hosts.db", "hosts.db.new"], self.names())
        steps.close()
        self.assertEqual(["hosts.db"], self.names())
        self.assertEqual(Cached((), 1000.5), self.cache.read())

    def test_folder_that_is_missing(self) -> None:
        """The one who writes is told."""
        cache = Cache(self.folder / "no" / "hosts.db", self.log)
        with self.assertRaises(FileNotFoundError):
            next(cache.steps((WEB01,), 1))

    def test_what_is_in_the_way(self) -> None:
        """A failure at the last step leaves nothing beside."""
        self.path.mkdir()
        (self.path / "x").touch()
        with self.assertRaises(OSError):
            self.write(WEB01)
        self.assertEqual(["hosts.db"], self.names())

    @given(st.lists(hosts, unique_by=lambda host: host.hostname, max_size=5))
    def test_any_hosts_come_back(self, known: list[Host]) -> None:
        """Whatever names, addresses and passwords there are."""
        self.write(*known)
        self.assertEqual(Cached(tuple(known), 1000.5), self.cache.read())


class ReadTests(CacheCase):
    def test_no_file(self) -> None:
        """The first start of all is nothing to complain of."""
        self.assertIsNone(self.cache.read())
        self.assertEqual([], self.log.told.events)

    def damaged(self, content: bytes) -> str:
        """Have a damaged file set aside; tells why."""
        self.path.write_bytes(content)
        self.path.chmod(0o644)
        self.assertIsNone(self.cache.read())
        self.assertEqual(["hosts.db.damaged"], self.names())
        aside = self.folder / "hosts.db.damaged"
        self.assertEqual(content, aside.read_bytes())
        self.assertEqual(0o600, aside.stat().st_mode & 0o777)
        self.assertEqual(["hosts.cache_damaged"], self.log.told.kinds()[-1:])
        why = str(self.log.told.context("hosts.cache_damaged")["why"])
        self.assertNotIn(SECRET, why)
        return why

    def test_damaged_files_are_set_aside(self) -> None:
        """The operator is told where it went and what was wrong; the script is run."""
        entry = entry_line(WEB01)
        head = b'{"hosts":2,"written":1}\n'
        for content, why in {
            b"": "line 1: not the head of a hosts cache",
            b"\x00\xff binary": "line 1: not the head of a hosts cache",
            entry + b"\n": "line 1: not the head of a hosts cache",
            b'{"hosts":true,"written":1}\n': "line 1: not the head of a hosts cache",
            b'{"hosts":0,"written":1}': "line 1: expected 0 hosts, got 0 lines",
            head + entry + b"\n": "line 1: expected 2 hosts, got 1 lines",
            head + entry + b"\n" + entry: "line 1: expected 2 hosts, got 1 lines",
            head + entry + b"\n" + entry + b"\n": "a host stands there twice",
            head + entry + b'\n{"hostname":"' + SECRET.encode() + b'"}\n': "line 3: port: missing",
        }.items():
            self.assertEqual(why, self.damaged(content))

    def test_file_that_cannot_be_read(self) -> None:
        """It is left where it is, for the operator to look at."""
        self.path.mkdir()
        self.assertIsNone(self.cache.read())
        self.assertEqual(["hosts.cache_unreadable"], self.log.told.kinds())

    def test_damaged_file_that_cannot_be_set_aside(self) -> None:
        """The start goes on all the same."""
        (self.folder / "hosts.db.damaged").mkdir()
        self.path.write_bytes(b"x")
        self.assertIsNone(self.cache.read())
        why = self.log.told.context("hosts.cache_damaged")["why"]
        self.assertIn("it can't be set aside", str(why))

    def test_no_descriptor_is_left_open(self) -> None:
        """However often it is written and read."""
        self.write(WEB01)
        before = len(os.listdir("/proc/self/fd"))
        self.write(WEB01)
        self.cache.read()
        self.assertEqual(before, len(os.listdir("/proc/self/fd")))
