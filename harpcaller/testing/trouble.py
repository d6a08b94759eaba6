"""What can go wrong with a system call of the file system in memory, and when that is asked."""

from __future__ import annotations

import os

import attrs


@attrs.frozen
class SystemCall:
    """A call that is about to be made.

    Attributes:
        number: Of this file system's calls, from 0.
        name: Of the method; ``database``, ``read`` or ``execute`` for what SQLite is asked.
        path: Of what it is about.
        grows: It needs room on the disk.
    """

    number: int
    name: str
    path: str
    grows: bool = False


@attrs.frozen
class Trouble:
    """How a call goes wrong.

    Attributes:
        error: The number of the error; 0 for none: a write is merely short.
        taken: Which part of its data a failing or short write takes.
    """

    error: int
    taken: float = 0.0

    def raise_it(self, path: str) -> None:
        """Raise the error, if it is one."""
        if self.error:
            raise OSError(self.error, os.strerror(self.error), path)


def no_trouble(call: SystemCall) -> Trouble | None:
    """Let a call go well."""
    return None
