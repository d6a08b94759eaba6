"""The simulated disk: a store on it keeps its contract, and it promises no more than a disk."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from harpcaller.store.disk import Disk
from harpcaller.store.filestore import FileJobStore
from tests.fire.disk import Dead, SimulatedDisk, Trouble
from tests.fire.platter import Platter
from tests.house import HouseCase
from tests.store import contract
from tests.store.fakes import NoReactor, StraightLane


def simulated(
    platter: Platter, trouble: Trouble | None = None, die: Callable[[], None] = lambda: None
) -> SimulatedDisk:
    """Give a process's view of a platter."""
    return SimulatedDisk(platter, trouble or Trouble(), Random(1), die, lambda *what: None)


class StoreOnItTests(contract.ContractMixin):
    """A store can't tell it from a real one."""

    def make(self) -> FileJobStore:
        platter = Platter()
        self.addCleanup(platter.close)
        disk: Disk = simulated(platter)
        return FileJobStore(
            "/store",
            disk=disk,
            clock=self.clock,
            reactor=NoReactor(),
            lane=lambda _name, _reactor: StraightLane(),
        )


class PowerCutTests(HouseCase):
    """What is left after the power was cut, over and over."""

    def setUp(self) -> None:
        super().setUp()
        self.trouble = Trouble()

    def lives(self, write: Callable[[SimulatedDisk], None]) -> set[bytes | None]:
        """Give everything that may stand in ``/d/f`` after some writing and a power cut."""
        found: set[bytes | None] = set()
        for seed in range(60):
            platter = Platter()
            disk = simulated(platter, self.trouble)
            disk.make_directory("/d")
            write(disk)
            platter.lose_power(Random(seed))
            file = platter.files.get("/d/f")
            found.add(None if file is None else bytes(file.data))
        return found

    def test_synced(self) -> None:
        """What was synced, name and content, is there."""

        def write(disk: SimulatedDisk) -> None:
            handle = disk.create_log("/d/f", synced=True)
            disk.append(handle, b"ab")
            disk.sync_directory("/d")

        self.assertEqual({b"ab"}, self.lives(write))

    def test_name_not_synced(self) -> None:
        """A file whose name wasn't synced may be gone altogether."""

        def write(disk: SimulatedDisk) -> None:
            disk.append(disk.create_log("/d/f", synced=True), b"ab")

        self.assertEqual({b"ab", None}, self.lives(write))

    def test_content_not_synced(self) -> None:
        """Of what wasn't synced there may be any part."""

        def write(disk: SimulatedDisk) -> None:
            handle = disk.create_log("/d/f", synced=False)
            disk.append(handle, b"ab")
            disk.sync(handle)
            disk.append(handle, b"cd")
            disk.sync_directory("/d")

        self.assertEqual({b"ab", b"abc", b"abcd"}, self.lives(write))

    def test_failed_sync(self) -> None:
        """What a failed sync was to write is lost, whatever a later sync says."""

        def write(disk: SimulatedDisk) -> None:
            handle = disk.create_log("/d/f", synced=False)
            disk.sync_directory("/d")
            disk.append(handle, b"ab")
            self.trouble.bad_syncs = 1.0
            self.assertRaises(OSError, disk.sync, handle)
            self.trouble.bad_syncs = 0.0
            self.assertEqual(b"ab", disk.read(disk.open("/d/f"), 0, 10))
            disk.append(handle, b"cd")
            disk.sync(handle)

        self.assertEqual({b"\0\0cd"}, self.lives(write))

    def test_removed(self) -> None:
        """A file whose removal wasn't synced may be back."""

        def write(disk: SimulatedDisk) -> None:
            disk.append(disk.create_log("/d/f", synced=True), b"ab")
            disk.sync_directory("/d")
            disk.remove("/d/f")

        self.assertEqual({b"ab", None}, self.lives(write))


class TroubleTests(HouseCase):
    """What a process with a bad disk sees."""

    def test_full(self) -> None:
        """A full disk takes part of what is written, and makes no files."""
        platter, trouble = Platter(), Trouble()
        disk = simulated(platter, trouble)
        disk.make_directory("/d")
        handle = disk.create_log("/d/f", synced=True)
        trouble.full = True
        self.assertRaises(OSError, disk.append, handle, b"abcdef")
        self.assertLess(disk.length(handle), 6)
        self.assertRaises(OSError, disk.create_log, "/d/g", synced=True)
        self.assertRaises(OSError, disk.write_at, "/d/g", 0, b"x")

    def test_dies_in_a_call(self) -> None:
        """A process that is killed in a call does nothing more, whatever it tries."""
        platter, died = Platter(), []
        trouble = Trouble(die_at=2)
        disk = simulated(platter, trouble, lambda: died.append(True))
        disk.make_directory("/d")
        self.assertRaises(Dead, disk.create_log, "/d/f", synced=True)
        self.assertEqual([True], died)
        disk.kill()
        self.assertRaises(Dead, disk.create_log, "/d/f", synced=True)
        self.assertEqual({}, platter.files)

    def test_lock(self) -> None:
        """A lock is one process's, and free when that is dead."""
        platter = Platter()
        one, other = simulated(platter), simulated(platter)
        handle = one.lock("/l")
        self.assertRaises(BlockingIOError, other.lock, "/l")
        one.close(handle)
        other.close(other.lock("/l"))
        one.lock("/l")
        one.kill()
        platter.die()
        other.lock("/l")
