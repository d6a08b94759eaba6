"""Changes of a file are noticed, once each, when they are complete."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from harpcaller.logs.events import EventLog
from harpcaller.service.watching import LOOK_SECONDS, SETTLE_SECONDS, FileWatch, Sight
from tests.house import HouseCase


class FakeSight:
    """Folders that are watched by nobody."""

    def __init__(
        self, folders: Iterable[Path], stirred: Callable[[], None], gone: Callable[[], None]
    ) -> None:
        self.folders = set(folders)
        self.stirred = stirred
        self.gone = gone
        self.closed = False

    def close(self) -> None:
        self.closed = True


class WatchingTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "harpd.py"
        self.path.write_text("1")
        self.sights: list[FakeSight] = []
        self.blind = False
        self.at_look: Callable[[], None] = lambda: None
        self.changes = 0
        self.watch = FileWatch(self.path, self.changed, self.clock, self.look, EventLog("agent"))
        self.addCleanup(self.watch.stop)
        self.versions = 0

    def changed(self) -> None:
        self.changes += 1

    def look(
        self, folders: Iterable[Path], stirred: Callable[[], None], gone: Callable[[], None]
    ) -> Sight:
        if self.blind:
            raise OSError("too many watches")
        self.at_look()
        sight = FakeSight(folders, stirred, gone)
        self.sights.append(sight)
        return sight

    def write(self) -> None:
        self.versions += 1
        self.path.write_text("x" * (1 + self.versions))

    def write_once(self) -> None:
        self.at_look = lambda: None
        self.write()

    def stir(self) -> None:
        self.sights[-1].stirred()

    def test_written(self) -> None:
        """A file that was written is told of a little later."""
        self.watch.start()
        self.write()
        self.stir()
        self.clock.advance(SETTLE_SECONDS - 0.1)
        self.assertEqual(0, self.changes)
        self.clock.advance(0.1)
        self.assertEqual(1, self.changes)

    def test_written_bit_by_bit(self) -> None:
        """As long as it changes, it isn't told of; then once."""
        self.watch.start()
        for _ in range(5):
            self.write()
            self.stir()
            self.clock.advance(SETTLE_SECONDS - 0.1)
        self.write()  # and this one nobody told us of
        self.clock.advance(0.1)
        self.assertEqual(0, self.changes)
        self.clock.advance(SETTLE_SECONDS)
        self.assertEqual(1, self.changes)

    def test_renamed(self) -> None:
        """An editor that moves the old file away and writes another is understood."""
        self.watch.start()
        self.path.rename(self.folder / "harpd.py~")
        self.stir()
        self.clock.advance(SETTLE_SECONDS)
        self.assertEqual(0, self.changes)
        self.write()
        self.stir()
        self.clock.advance(SETTLE_SECONDS)
        self.assertEqual(1, self.changes)

    def test_others_stir(self) -> None:
        """What happens to other files in the folder doesn't matter, nor a touched mode."""
        self.watch.start()
        self.path.chmod(0o600)
        self.stir()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_changed_back(self) -> None:
        """A file that is put back as it was hasn't changed."""
        os.link(self.path, self.folder / "kept")
        self.watch.start()
        self.path.unlink()
        self.write()
        self.stir()
        (self.folder / "kept").rename(self.path)
        self.stir()
        self.clock.advance(SETTLE_SECONDS)
        self.assertEqual(0, self.changes)

    def test_link(self) -> None:
        """A link is watched with what it leads to, wherever that is after a change."""
        there = self.folder / "there"
        there.mkdir()
        (there / "a.py").write_text("1")
        self.watch.start()
        self.assertEqual({self.folder}, self.sights[-1].folders)
        self.path.unlink()
        self.path.symlink_to(there / "a.py")
        self.stir()
        self.clock.advance(SETTLE_SECONDS)
        self.assertEqual(1, self.changes)
        self.assertTrue(self.sights[0].closed)
        self.assertEqual({self.folder, there}, self.sights[-1].folders)

    def test_folder_is_gone(self) -> None:
        """A folder that comes back is watched again, and what changed is noticed."""
        self.watch.start()
        self.sights[-1].gone()
        self.sights[-1].gone()
        self.write()
        self.clock.advance(LOOK_SECONDS)
        self.assertEqual(2, len(self.sights))
        self.clock.advance(SETTLE_SECONDS)
        self.assertEqual(1, self.changes)

    def test_can_not_watch(self) -> None:
        """Where folders can't be watched the file is looked at now and then."""
        self.blind = True
        self.watch.start()
        self.clock.advance(LOOK_SECONDS)
        self.write()
        self.clock.advance(LOOK_SECONDS)
        self.clock.advance(SETTLE_SECONDS)
        self.assertEqual(1, self.changes)

    def test_changed_while_it_is_told(self) -> None:
        """A change just when the last one is told of isn't lost."""
        self.watch.start()
        self.write()
        self.stir()
        self.at_look = self.write_once
        self.clock.advance(SETTLE_SECONDS)
        self.assertEqual(1, self.changes)
        self.clock.advance(SETTLE_SECONDS)
        self.assertEqual(2, self.changes)

    def test_stopped(self) -> None:
        """After the stop nothing is told any more."""
        self.watch.start()
        self.write()
        self.stir()
        self.watch.stop()
        self.assertTrue(self.sights[-1].closed)
        self.assertEqual([], self.clock.getDelayedCalls())
