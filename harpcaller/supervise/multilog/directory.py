"""A log directory on disk: taken over, written, rotated, closed.

It can be taken over from daemontools' multilog and given back, at any time, after a ``kill -9``
too.  All that may have to wait is :mod:`steps <harpcaller.supervise.multilog.steps>`; what the
files mean is told in :mod:`~harpcaller.supervise.multilog.rotation`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from harpcaller.supervise.messages import fatal
from harpcaller.supervise.multilog import rotation
from harpcaller.supervise.multilog.processor import CantStart, StartProcessor
from harpcaller.supervise.multilog.rotation import Way
from harpcaller.supervise.multilog.script import Append
from harpcaller.supervise.multilog.steps import Pause, Running, Steps, insist, trouble

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
_TRUNCATE = os.O_WRONLY | os.O_TRUNC | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
#: What is handed to the system again at once after it failed to sync, in bytes.
_PIECE = 65536


class LogDirectory:
    """One log directory.

    Args:
        wanted: Which, and how its files are kept.
        clock: Gives Unix time in nanoseconds, for names.
        start: Starts a processor.
        sync: Has on disk what was written to a descriptor.
    """

    def __init__(
        self,
        wanted: Append,
        clock: Callable[[], int],
        start: StartProcessor,
        sync: Callable[[int], None] = os.fsync,
    ) -> None:
        self._wanted = wanted
        self._name = os.fsdecode(wanted.path)
        self._clock = clock
        self._start = start
        self._sync_descriptor = sync
        self._directory = -1
        self._lock = -1
        self._current = -1
        self._filled = 0

    def open(self, at: int) -> Steps[None]:
        """Take the directory over; it is made if it isn't there.

        Args:
            at: The directory, as a descriptor, that relative paths begin at.

        Raises:
            Ended: It can't be had: another writes there, or it isn't a directory, ...
        """
        path, name = self._wanted.path, self._name
        with suppress(OSError):
            os.mkdir(path, 0o700, dir_fd=at)
        with _or_fatal(f"unable to open directory {name}"):
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            self._directory = os.open(path, flags, dir_fd=at)
            self._enter()
        with _or_fatal(f"unable to lock directory {name}"):
            self._lock = self._open(rotation.LOCK, _APPEND, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with _or_fatal(f"unable to stat {name}/{rotation.CURRENT}"):
            clean = self._is_complete(rotation.CURRENT)
        if clean:
            with _or_fatal(f"unable to append to {name}/{rotation.CURRENT}"):
                self._current = self._open(rotation.CURRENT, _APPEND)
            self._filled = os.fstat(self._current).st_size
        else:
            yield from self._begin_anew()
        with _or_fatal(f"unable to set mode of {name}/{rotation.CURRENT}"):
            os.fchmod(self._current, rotation.WRITTEN_MODE)

    def _begin_anew(self) -> Steps[None]:
        """Put away what a writer has left that didn't close, then begin new files."""
        name = self._name
        with _or_fatal(f"unable to stat {name}/{rotation.PROCESSED}"):
            processed = self._is_complete(rotation.PROCESSED)
        for found in rotation.takeover(current=False, processed=processed):
            if found.way is Way.REMOVE:
                with suppress(OSError):
                    os.unlink(found.name, dir_fd=self._directory)
            else:
                yield from self._finish(found.name, safe=found.way is Way.SAFE)
        with _or_fatal(f"unable to write to {name}/{rotation.STATE}"):
            os.close(self._open(rotation.STATE, _TRUNCATE, rotation.WRITTEN_MODE))
        with _or_fatal(f"unable to write to {name}/{rotation.CURRENT}"):
            self._current = self._open(rotation.CURRENT, _APPEND)
        self._filled = 0

    def write(self, data: bytes) -> Steps[None]:
        """Append bytes; files are rotated on the way."""
        view, place, size = memoryview(data), 0, self._wanted.size
        while place < len(data):
            if self._filled >= size:
                yield from self._rotate()
            end = rotation.portion(data, place, self._filled, size)
            while place < end:
                try:
                    written = os.write(self._current, view[place:end])
                except OSError as error:
                    yield trouble(f"unable to write to {self._name}/{rotation.CURRENT}", error)
                    continue
                place += written
                self._filled += written
            if rotation.is_finished(self._filled, size, data[place - 1]):
                yield from self._rotate()

    def rotate(self) -> Steps[None]:
        """Rotate now, unless there is nothing in ``current``."""
        if self._filled:
            yield from self._rotate()

    def close(self) -> Steps[None]:
        """Close ``current`` cleanly: the next writer goes on with it."""
        yield from self._sync(rotation.CURRENT, self._current)
        what = f"set mode of {self._name}/{rotation.CURRENT}"
        yield from insist(what, lambda: os.fchmod(self._current, rotation.COMPLETE_MODE))
        self.release()

    def release(self) -> None:
        """Let go of the directory, without a sign that ``current`` is complete."""
        if self._lock >= 0:
            # A process that is just being started still has all our descriptors.
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        for descriptor in (self._current, self._directory, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._current = self._directory = self._lock = -1

    def _rotate(self) -> Steps[None]:
        """Put ``current`` away, begin a new one, and process the old one."""
        name, directory = self._name, self._directory
        current, previous = rotation.CURRENT, rotation.PREVIOUS
        yield from insist(f"switch to {name}", self._enter)
        yield from self._sync(current, self._current)
        os.close(self._current)
        self._current = -1
        yield from insist(
            f"rename current to previous in directory {name}",
            lambda: os.rename(current, previous, src_dir_fd=directory, dst_dir_fd=directory),
        )
        self._current = yield from insist(
            f"create {name}/{current}", lambda: self._open(current, _APPEND)
        )
        self._filled = 0
        yield from insist(
            f"set mode of {name}/{current}",
            lambda: os.fchmod(self._current, rotation.WRITTEN_MODE),
        )
        yield from insist(
            f"set mode of {name}/{previous}",
            lambda: os.chmod(previous, rotation.COMPLETE_MODE, dir_fd=directory),
        )
        if self._wanted.processor is None:
            yield from self._finish(previous, safe=True)
        else:
            yield from self._process(self._wanted.processor)

    def _process(self, command: bytes) -> Steps[None]:
        """Pass ``previous`` through the processor, and make its output an old file."""
        name, directory = self._name, self._directory
        while code := (yield from self._run(command)):
            what = "crashed" if code < 0 else "failed"
            yield Pause(f"processor {what} in {name}, pausing")
        yield from self._sync_output(rotation.PROCESSED, rotation.COMPLETE_MODE)
        yield from self._sync_output(rotation.NEW_STATE, rotation.WRITTEN_MODE)
        yield from self._remove(rotation.PREVIOUS)
        yield from insist(
            f"rename newstate to state in directory {name}",
            lambda: os.rename(
                rotation.NEW_STATE, rotation.STATE, src_dir_fd=directory, dst_dir_fd=directory
            ),
        )
        yield from self._finish(rotation.PROCESSED, safe=True)

    def _sync_output(self, file: str, mode: int) -> Steps[None]:
        """Have on disk what the processor has written, then give it its mode."""
        path = f"{self._name}/{file}"
        descriptor = yield from insist(f"create {path}", lambda: self._open(file, _APPEND))
        try:
            yield from self._sync(file, descriptor)
            yield from insist(f"set mode of {path}", lambda: os.fchmod(descriptor, mode))
        finally:
            os.close(descriptor)

    def _run(self, command: bytes) -> Steps[int]:
        """Run the processor once; gives its exit code, or minus the signal that it died of."""
        while True:
            try:
                pid = self._start(command, self._directory)
            except CantStart as failed:
                shown = os.fsdecode(command)
                yield trouble(f"unable to run {shown} in {self._name}", failed.error)
            except OSError as error:
                yield trouble(f"unable to fork for processor in {self._name}", error)
            else:
                status = yield Running(pid)
                assert status is not None
                return os.waitstatus_to_exitcode(status)

    def _finish(self, file: str, *, safe: bool) -> Steps[None]:
        """Make a file an old one if it is there, and remove those that are too many."""
        name, directory = self._name, self._directory
        found = yield from insist(f"stat {name}/{file}", lambda: self._stat(file))
        if found is None:
            return
        # One with two names has got its own before its writer was killed.
        while found.st_nlink == 1:
            old = rotation.old_name(self._clock(), safe=safe)
            try:
                self._name_too(file, old)
            except OSError as error:
                yield trouble(f"unable to link to {name}/{old}", error)
            else:
                break
        yield from self._remove(file)
        names = yield from insist(f"read {name}", lambda: os.listdir(directory))
        for old_name in rotation.surplus(map(os.fsencode, names), self._wanted.files):
            try:
                self._unlink(os.fsdecode(old_name))
            except OSError as error:
                # It is told, and tried again at the next rotation: not worth more than that.
                yield trouble(f"unable to remove {name}/{os.fsdecode(old_name)}", error)

    def _name_too(self, file: str, old: str) -> None:
        """Give a file a second name; where the system forbids that, rename it."""
        at = self._directory
        try:
            os.link(file, old, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
        except PermissionError:
            # A file of another user's, with protected hard links, or a file system that has none.
            if self._stat(old) is not None:
                raise
            os.rename(file, old, src_dir_fd=at, dst_dir_fd=at)

    def _remove(self, file: str) -> Steps[None]:
        yield from insist(f"remove {self._name}/{file}", lambda: self._unlink(file))

    def _unlink(self, file: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(file, dir_fd=self._directory)

    def _sync(self, file: str, descriptor: int) -> Steps[None]:
        """Have a file on disk."""
        while True:
            try:
                self._sync_descriptor(descriptor)
                return
            except OSError as error:
                yield trouble(f"unable to write {self._name}/{file} to disk", error)
            # After a failed sync the system calls the lost pages clean, and the next one
            # would succeed and mean nothing.
            yield from insist(
                f"write {self._name}/{file} to disk", lambda: self._hand_over_again(file)
            )

    def _hand_over_again(self, file: str) -> None:
        """Write what the file holds again, so that it will be synced again."""
        descriptor = self._open(file, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            place = 0
            while piece := os.pread(descriptor, _PIECE, place):
                place += os.pwrite(descriptor, piece, place)
        finally:
            os.close(descriptor)

    def _open(self, file: str, flags: int, mode: int = 0o600) -> int:
        return os.open(file, flags, mode, dir_fd=self._directory)

    def _enter(self) -> None:
        """Raise OSError if it isn't a directory in which we may have files."""
        os.stat(".", dir_fd=self._directory)

    def _stat(self, file: str) -> os.stat_result | None:
        try:
            return os.stat(file, dir_fd=self._directory)
        except FileNotFoundError:
            return None

    def _is_complete(self, file: str) -> bool:
        found = self._stat(file)
        return found is not None and rotation.is_complete(found.st_mode)


@contextmanager
def _or_fatal(what: str) -> Iterator[None]:
    """Make what the system refuses the end of the program."""
    try:
        yield
    except OSError as error:
        raise fatal("multilog", what, error) from None
