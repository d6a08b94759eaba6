"""A directory of services, each with its log if it has one, all kept by one process.

A service is known by device and inode: renaming its link changes nothing, two links to one
directory are one service.  The pipe between a service and its log is held open here at both
ends, so that nothing is lost when either is started anew.
"""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Callable
from functools import partial

from harpcaller.supervise.messages import reason
from harpcaller.supervise.servicedir.folder import Folder, Unusable
from harpcaller.supervise.tools.bodies import LOG_SCRIPT, Body
from harpcaller.supervise.tools.loop import Timer
from harpcaller.supervise.tools.supervised import Supervised, Surroundings

#: How long a log may go on after its service has ended for good, in seconds: enough to write
#: down what it was told, and it ends sooner.
_DRAIN = 10.0
#: Longer names have no log.
_LONGEST_NAME = 255
#: So many descriptors stay free for what runs already: a start takes some, for a while.
KEPT_DESCRIPTORS = 32
#: How many services are looked at in one turn.
_AT_ONCE = 20


class Entry:
    """One service of the directory, and its log.

    Attributes:
        name: As the directory calls it.
        is_present: Whether the directory still has it.
    """

    def __init__(self, name: str, tree: Tree) -> None:
        self.name = name
        self.is_present = True
        self._tree = tree
        self._main: Supervised | None = None
        self._log: Supervised | None = None
        self._pipe: tuple[int, int] | None = None
        self._has_log = False

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs any more."""
        return self._main is None and self._log is None

    @property
    def parts(self) -> list[Supervised]:
        """What of it is supervised."""
        return [part for part in (self._main, self._log) if part is not None]

    def keep(self) -> None:
        """See that what should be supervised is."""
        if self.is_over and not self._tree.has_room():
            what = "running too many services for the limit of descriptors"
            self._tree.warn(f"unable to start {self.name}: {what}")
            return
        if not self._look_for_log() and self._main is None:
            return  # as long as it isn't known where its output is to go
        if self._main is None:
            self._main = self._begin(self.name, self._main_ended)
        if self._has_log and self._log is None:
            self._log = self._begin(f"{self.name}/log", self._log_ended)
        self._connect()

    def _look_for_log(self) -> bool:
        """Make the pipe if there is a log; tells whether that is known and done."""
        if self._has_log or len(os.fsencode(self.name)) > _LONGEST_NAME:
            return True
        what = f"stat {self.name}/log"
        try:
            os.stat(f"{self.name}/log", dir_fd=self._tree.root)
            what = f"create pipe for {self.name}"
            self._pipe = os.pipe2(os.O_CLOEXEC)
            self._has_log = True
        except FileNotFoundError:
            pass
        except OSError as error:
            self._tree.warn(f"unable to {what}: {reason(error)}")
            return False
        return True

    def _begin(self, name: str, ended: Callable[[], None]) -> Supervised | None:
        try:
            folder = Folder(name, name, self._tree.root)
            around = self._tree.around
            is_log = ended == self._log_ended
            body = None
            if is_log and not folder.has("run") and folder.has(LOG_SCRIPT):
                body = self._logged_here(folder)
            service = Supervised(folder, around, self._tree.root, ended, self._tree.changed, body)
            service.descriptors = self._descriptors(is_log)
            service.begin()
        except Unusable as error:
            self._tree.complain(str(error))
            return None
        return service

    def _logged_here(self, folder: Folder) -> Body:
        # Trees without such logs needn't know what multilog is.
        from harpcaller.supervise.tools.logged import LoggedHere

        return LoggedHere(folder, self._tree.around.loop, self._tree.around.wall)

    def _descriptors(self, for_log: bool) -> dict[int, int]:
        if self._pipe is None:
            return {}
        reading, writing = self._pipe
        return {0: reading} if for_log else {1: writing}

    def _connect(self) -> None:
        """Give the service the pipe, also if its log was made after it had started."""
        if self._main is not None:
            self._main.descriptors = self._descriptors(for_log=False)

    def _main_ended(self) -> None:
        self._main = None
        if self._tree.is_stopping:
            self.drain()
            self._tree.look_whether_over()

    def _log_ended(self) -> None:
        self._log = None
        if self._tree.is_stopping:
            self._tree.look_whether_over()

    def stop(self, grace_seconds: float) -> None:
        """Take the service down, then its log."""
        if self._main is not None:
            self._main.stop(grace_seconds)
        else:
            self.drain()

    def drain(self) -> None:
        """Let the log write down what it was told and end."""
        self.close()
        log = self._log
        if log is None:
            return
        log.leave()
        if self._log is log:
            loop = self._tree.around.loop
            loop.at(loop.clock() + _DRAIN, lambda: log.stop(_DRAIN))

    def close(self) -> None:
        """Close the pipe: nobody here will start anything on it any more."""
        if self._pipe is not None:
            for descriptor in self._pipe:
                os.close(descriptor)
            self._pipe = None
            self._has_log = False


class Tree:
    """All services of a directory.

    Args:
        root: A descriptor of the directory.
        around: What its services share.
        complain: Told why a service can't be supervised.

    Attributes:
        is_stopping: Whether all of them are to end.
    """

    def __init__(self, root: int, around: Surroundings, complain: Callable[[str], None]) -> None:
        self.root = root
        self.around = around
        self.warn = around.warn
        self.complain = complain
        self.is_stopping = False
        self._entries: dict[tuple[int, int], Entry] = {}
        self._woken = False
        self._unseen: list[str] = []
        self._next: Timer | None = None

    def scan(self) -> None:
        """See what the directory has now, and keep it."""
        if self.is_stopping:
            return
        try:
            names = os.listdir(self.root)
        except OSError as error:
            self.warn(f"unable to read directory: {reason(error)}")
            return
        for entry in self._entries.values():
            entry.is_present = False
        self._unseen = [name for name in names if not name.startswith(".")]
        if self._next is None or self._next.is_off:
            self._scan_on()

    def _scan_on(self) -> None:
        """Go on with a scan; others get their turn between, as starting a thousand takes long."""
        if self.is_stopping:
            return
        for name in self._unseen[:_AT_ONCE]:
            self.around.loop.call(partial(self._see, name))
        del self._unseen[:_AT_ONCE]
        if self._unseen:
            self._next = self.around.loop.at(self.around.loop.clock(), self._scan_on)
            return
        for key, entry in list(self._entries.items()):
            if not entry.is_present and entry.is_over:
                entry.close()
                del self._entries[key]

    def _see(self, name: str) -> None:
        try:
            found = os.stat(name, dir_fd=self.root)
        except OSError as error:
            self.warn(f"unable to stat {name}: {reason(error)}")
            return
        if not stat.S_ISDIR(found.st_mode):
            return
        key = found.st_dev, found.st_ino
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = Entry(name, self)
        elif entry.is_present:
            return  # a second name for it
        entry.is_present = True
        entry.name = name  # it may have another than before
        entry.keep()

    def has_room(self) -> bool:
        """Tell whether there are descriptors for one service more."""
        try:
            lowest = os.dup(self.root)
        except OSError:
            return False
        os.close(lowest)
        return lowest < resource.getrlimit(resource.RLIMIT_NOFILE)[0] - KEPT_DESCRIPTORS

    def changed(self) -> None:
        """A service has become something else: look, soon, whether others waited for that."""
        if self._woken or self.is_stopping:
            return
        self._woken = True
        _ = self.around.loop.at(self.around.loop.clock(), self._look_again)

    def _look_again(self) -> None:
        self._woken = False
        for entry in list(self._entries.values()):
            for part in entry.parts:
                part.look_again()

    def stop(self, grace_seconds: float) -> None:
        """Take all services down, then their logs, then end the loop."""
        self.is_stopping = True
        for entry in list(self._entries.values()):
            entry.stop(grace_seconds)
        self.look_whether_over()

    def kill(self) -> None:
        """Let everything end at once."""
        for entry in self._entries.values():
            for part in entry.parts:
                part.kill()

    def look_whether_over(self) -> None:
        """End the loop if everything is to end and has ended."""
        if self.is_stopping and all(entry.is_over for entry in self._entries.values()):
            self.around.loop.stop()
