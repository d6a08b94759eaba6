"""Watching a file with the system's inotify."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import cast

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from harpcaller.logs.events import EventLog
from harpcaller.service import watching
from harpcaller.service.reactor import Reactor
from harpcaller.service.watching import FileWatch, folder_watcher

reactor = cast(Reactor, installed)


def watched_through() -> int:
    """How many descriptors of inotify this process has."""
    links = [Path(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    return len([link for link in links if link.is_symlink() and "inotify" in os.readlink(link)])


class INotifyTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "harpd.py"
        self.path.write_text("1")
        self.waiting: Deferred[None] | None = None
        self.patch(watching, "LOOK_SECONDS", 0.2)

    def watch(self) -> FileWatch:
        watch = FileWatch(
            self.path, self.changed, reactor, folder_watcher(reactor), EventLog("agent")
        )
        watch.start()
        self.addCleanup(self.stop, watch)
        return watch

    def stop(self, watch: FileWatch) -> None:
        watch.stop()
        self.assertEqual(0, watched_through())

    def changed(self) -> None:
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.callback(None)

    def change(self) -> Deferred[None]:
        self.waiting = Deferred()
        return self.waiting

    async def test_written(self) -> None:
        """A file that is written is noticed, again and again."""
        self.watch()
        self.assertEqual(1, watched_through())
        for number in range(2):
            change = self.change()
            self.path.write_text("x" * (number + 2))
            await change

    async def test_folder_is_replaced(self) -> None:
        """Whoever replaces the whole folder is noticed, too, and what happens in the new one."""
        self.watch()
        change = self.change()
        shutil.rmtree(self.folder)
        await deferLater(reactor, 0.3)
        self.folder.mkdir()
        self.path.write_text("new")
        await change
        change = self.change()
        self.path.write_text("newer")
        await change

    async def test_folder_comes_later(self) -> None:
        """A folder that isn't there yet is looked for."""
        self.path = self.folder / "later" / "harpd.py"
        self.watch()
        change = self.change()
        await deferLater(reactor, 0.3)
        self.path.parent.mkdir()
        self.path.write_text("new")
        await change
