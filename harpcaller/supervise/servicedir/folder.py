"""A service's directory: held by a descriptor, so that renaming it or its link changes nothing.

Whoever supervises it has ``supervise/lock`` locked, reads ``supervise/control``, and keeps
``supervise/ok`` open for reading: that can be opened for writing exactly as long as it lives.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from harpcaller.supervise.messages import reason
from harpcaller.supervise.servicedir.detail import Detail, encode_detail
from harpcaller.supervise.servicedir.settings import MAX_SIZE, NAMES, Settings, read_settings
from harpcaller.supervise.servicedir.status import Status, encode_status

#: How many commands are read at once; more of them have to wait for other services' turns.
_COMMANDS = 512
#: There may be enough of it again in a moment.
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Unusable(Exception):
    """A directory can't be supervised; says what failed and why, in daemontools' words."""

    def __init__(self, what: str, error: OSError) -> None:
        super().__init__(f"{what}: {reason(error)}")


class Folder:
    """A service's directory while it is supervised.

    Args:
        path: Where it is, seen from ``start``.
        name: What it is called in messages.
        start: A descriptor of the folder from which the path is seen; None: the current one.

    Attributes:
        name: See there.
        fd: A descriptor of the directory.
        control: The FIFO's descriptor.

    Raises:
        Unusable: It can't be entered.
    """

    def __init__(self, path: str, name: str, start: int | None = None) -> None:
        self.name = name
        self._held: list[int] = []
        try:
            self.fd = self._hold(path, os.O_RDONLY | os.O_DIRECTORY, start)
        except OSError as error:
            raise Unusable(f"unable to chdir to {name}", error) from None
        self.control = self._lock = -1
        self._written = b""

    def _hold(self, path: str, flags: int, start: int | None = None) -> int:
        where = self.fd if start is None and self._held else start
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=where)
        self._held.append(descriptor)
        return descriptor

    def close(self) -> None:
        """Let go of it: nobody supervises it any more."""
        if self._lock >= 0:
            # A process that is just being started still has all our descriptors.
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            self._lock = -1
        while self._held:
            os.close(self._held.pop())

    def is_normally_down(self) -> bool:
        """Tell whether there is a file ``down``.

        Raises:
            Unusable: It can't be told.
        """
        try:
            os.stat("down", dir_fd=self.fd)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise Unusable(f"unable to stat {self.name}/down", error) from None
        return True

    def take(self) -> None:
        """Make ``supervise``, lock it, and listen to its control FIFO.

        Raises:
            Unusable: Another has it, or the system refuses.
        """
        self._make_supervise()
        what = f"acquire {self.name}/supervise/lock"
        try:
            self._lock = self._hold("supervise/lock", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            what = f"read {self.name}/supervise/control"
            # Open for writing, too, so that it never comes to its end.
            self.control = self._fifo("supervise/control", os.O_RDWR)
        except OSError as error:
            raise Unusable(f"unable to {what}", error) from None

    def admit(self) -> None:
        """Let ``svok`` find a supervisor, now that all else is there.

        Raises:
            Unusable: The system refuses.
        """
        try:
            _ = self._fifo("supervise/ok", os.O_RDONLY)
        except OSError as error:
            raise Unusable(f"unable to read {self.name}/supervise/ok", error) from None

    def _make_supervise(self) -> None:
        # What fails here shows in what is done next.
        with suppress(OSError):
            os.mkdir("supervise", 0o700, dir_fd=self.fd)
            return
        with suppress(OSError):
            # A link to where there is room, on a system that starts with an empty /run, say.
            target = os.readlink("supervise", dir_fd=self.fd)
            os.mkdir(target, 0o700, dir_fd=self.fd)

    def _fifo(self, path: str, flags: int) -> int:
        with suppress(FileExistsError):
            os.mkfifo(path, 0o600, dir_fd=self.fd)
        descriptor = self._hold(path, flags)
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            raise OSError(errno.ENXIO, "not a FIFO")
        return descriptor

    def commands(self) -> bytes:
        """Read what was written to the control FIFO."""
        with suppress(BlockingIOError):
            return os.read(self.control, _COMMANDS)
        return b""

    def announce(self, status: Status, detail: Detail, warn: Callable[[str], None]) -> bool:
        """Write down how things are; trouble with that is told.

        Returns:
            It is written.
        """
        done = self._overwrite("supervise/detail", encode_detail(detail), warn)
        data = encode_status(status)
        if data != self._written:
            # Many file systems write a file out when it takes another's place, which costs
            # milliseconds: not where nothing has changed.
            self._written = data if self._replace("supervise/status", data, warn) else b""
        return done and data == self._written

    def _overwrite(self, path: str, data: bytes, warn: Callable[[str], None]) -> bool:
        """Write a file that tells itself where it ends, and may be read while it is written."""
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(path, flags, 0o644, dir_fd=self.fd)
            try:
                written = os.write(descriptor, data)
                os.ftruncate(descriptor, len(data))
            finally:
                os.close(descriptor)
        except OSError as error:
            warn(f"unable to write {self.name}/{path}: {reason(error)}")
            return False
        return written == len(data)

    def _replace(self, path: str, data: bytes, warn: Callable[[str], None]) -> bool:
        new = f"{path}.new"
        what = f"open {self.name}/{new}"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(new, flags, 0o644, dir_fd=self.fd)
            try:
                what = f"write {self.name}/{new}"
                written = os.write(descriptor, data)
            finally:
                os.close(descriptor)
            if written < len(data):
                warn(f"unable to write {self.name}/{new}: partial write")
                return False
            what = f"rename {self.name}/{new} to {path.rpartition('/')[2]}"
            os.rename(new, path, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except OSError as error:
            warn(f"unable to {what}: {reason(error)}")
            return False
        return True

    def settings(self) -> Settings:
        """Read the files by which the service asks for more.

        Raises:
            OSError: The system hasn't what that takes; to start without would be wrong.
        """
        try:
            names = NAMES.intersection(os.listdir(self.fd))
        except OSError as error:
            _raise_if_exhausted(error)
            return Settings()
        files = {}
        problems = []
        for name in names:
            try:
                files[name] = read_beginning(name, MAX_SIZE, self.fd)
            except OSError as error:
                _raise_if_exhausted(error)
                problems.append(f"{name}: {reason(error)}")
        settings = read_settings(files)
        return settings._replace(problems=(*settings.problems, *problems))

    def has_program(self, name: str) -> bool:
        """Tell whether there is a script of this name that can be run."""
        return os.access(name, os.X_OK, dir_fd=self.fd)

    def has(self, name: str) -> bool:
        """Tell whether there is anything of this name."""
        return os.access(name, os.F_OK, dir_fd=self.fd)

    def needs(self) -> list[str]:
        """List what the service needs: the names in its folder ``needs``.

        Raises:
            OSError: The system hasn't what it takes to tell.
        """
        try:
            folder = os.open("needs", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        except OSError as error:
            _raise_if_exhausted(error)
            return []
        try:
            return sorted(name for name in os.listdir(folder) if not name.startswith("."))
        finally:
            os.close(folder)


def _raise_if_exhausted(error: OSError) -> None:
    """Tell what isn't there from what can't be looked at now."""
    if error.errno in _EXHAUSTED:
        raise error


def read_beginning(path: str, size: int, start: int | None = None) -> bytes:
    """Read a file's first bytes, never waiting for anybody.

    Raises:
        OSError: It can't be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=start)
    try:
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)
