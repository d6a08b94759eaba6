"""Noticing that a file has changed, however its editor goes about that.

The folder is watched and not the file, since most editors write another file and rename it.
What stirs in the folder is only the occasion to look: the file counts as changed if it is
another one than before, or its size or time of change differ, and stays so for a moment.
Where the folder can't be watched the file is looked at every few seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from twisted.internet import inotify
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath

from harpcaller.logs.events import EventLog
from harpcaller.service.reactor import Reactor

#: How long a file has to stay as it is until it counts as written, in seconds.
SETTLE_SECONDS = 0.5
#: How often to look when nothing tells of changes, in seconds.
LOOK_SECONDS = 5.0

_GONE = inotify.IN_DELETE_SELF | inotify.IN_MOVE_SELF | inotify.IN_UNMOUNT

#: What a file is known by; None if there is none.
_Fingerprint = tuple[int, int, int, int] | None


class Sight(Protocol):
    """Folders that are being watched."""

    def close(self) -> None:
        """Watch them no more."""


#: Watches folders.  The first function is called when something stirs in one of them, the
#: second when one is gone.  Raises OSError if they can't be watched.
Watcher = Callable[[Iterable[Path], Callable[[], None], Callable[[], None]], Sight]


class FileWatch:
    """Tells when a file has changed.

    Args:
        path: The file; it need not be there.
        changed: Called when it was written anew.
        clock: Measures how long it is left alone.
        watch: Watches folders.
        log: Where it is told that they can't be watched.
    """

    def __init__(
        self,
        path: Path,
        changed: Callable[[], None],
        clock: IReactorTime,
        watch: Watcher,
        log: EventLog,
    ) -> None:
        self.path = path
        self._changed = changed
        self._clock = clock
        self._watch = watch
        self._log = log
        self._known = self._latest = self._fingerprint()
        self._sight: Sight | None = None
        self._complained = False
        self._settling: IDelayedCall | None = None
        self._next_look: IDelayedCall | None = None

    def start(self) -> None:
        """Begin to watch."""
        folders = {self.path.parent, Path(os.path.realpath(self.path)).parent}
        try:
            self._sight = self._watch(folders, self._stirred, self._look_again_later)
        except OSError as error:
            if not self._complained:
                self._complained = True
                self._log.warn("agent.not_watching", file=str(self.path), error=str(error))
            self._look_again_later()
        # What happened before it was watched, nobody tells.
        self._stirred()

    def stop(self) -> None:
        """Watch no more."""
        for call in (self._settling, self._next_look):
            if call is not None:
                call.cancel()
        self._settling = self._next_look = None
        self._close()

    def _close(self) -> None:
        if self._sight is not None:
            self._sight.close()
            self._sight = None

    def _fingerprint(self) -> _Fingerprint:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def _stirred(self) -> None:
        _ = self._differs()

    def _differs(self) -> bool:
        """Look at the file; if it is not as it was at the last look, another is due."""
        latest = self._fingerprint()
        if latest == self._latest:
            return False
        self._latest = latest
        if self._settling is not None:
            self._settling.cancel()
        self._settling = self._clock.callLater(SETTLE_SECONDS, self._settled)
        return True

    def _settled(self) -> None:
        self._settling = None
        if self._differs() or self._latest in (None, self._known):
            return
        self._known = self._latest
        # It may be a link that leads to another folder now.
        self._close()
        self.start()
        self._changed()

    def _look_again_later(self) -> None:
        if self._next_look is None:
            self._next_look = self._clock.callLater(LOOK_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._next_look = None
        self._close()
        self.start()


class _INotifySight:
    def __init__(self, notifier: inotify.INotify) -> None:
        self._notifier = notifier

    def close(self) -> None:
        # It closes by itself when a folder is gone, and must not do so twice.
        if self._notifier.connected:
            self._notifier.stopReading()
            self._notifier.connectionLost(Failure(ConnectionDone()))


def folder_watcher(reactor: Reactor) -> Watcher:
    """Make what watches folders with Linux's inotify."""

    def watch(
        folders: Iterable[Path], stirred: Callable[[], None], gone: Callable[[], None]
    ) -> Sight:
        def noticed(_watch: object, _path: object, mask: int) -> None:
            stirred()
            if mask & _GONE:
                gone()

        try:
            notifier = inotify.INotify(reactor)
            try:
                for folder in folders:
                    notifier.watch(FilePath(str(folder)), callbacks=[noticed])
            except inotify.INotifyError:
                notifier.connectionLost(Failure(ConnectionDone()))
                raise
        except inotify.INotifyError as error:
            raise OSError(f"the folder can't be watched: {error}") from None
        notifier.startReading()
        return _INotifySight(notifier)

    return watch
