"""When a file is full, which old ones go, and how a directory is taken over.  No input or output.

A log directory has these files:

=================== ===========================================================================
``current``         what is written now.  Mode 0744 says that it was closed cleanly: the x of
                    its owner is the sign.  Otherwise (0644) its writer lives, or was killed.
``@LABEL.s``        an old file, complete and safe on disk; the label tells when it was finished
``@LABEL.u``        an old file whose writer was killed: its last line may be torn, and no
                    processor has seen it
``previous``        for a moment: an old file, complete, on its way through the processor
``processed``       for a moment: what the processor has made of it; 0744 says it is complete
``state``           what the processor left for its next run
``newstate``        for a moment: what the processor is about to leave
``lock``            locked by the writer
=================== ===========================================================================
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from harpcaller.supervise.tai64n import labels

#: A file is finished at the first newline this near to its size, in bytes.
MARGIN = 2000

CURRENT = "current"
PREVIOUS = "previous"
PROCESSED = "processed"
STATE = "state"
NEW_STATE = "newstate"
LOCK = "lock"

#: The mode of a file that is written, and of one that is complete.
WRITTEN_MODE = 0o644
COMPLETE_MODE = 0o744
#: The bit that tells one from the other.
COMPLETE_BIT = 0o100


def portion(data: bytes, start: int, filled: int, size: int) -> int:
    """Tell how much goes to the current file before it has to be looked at again.

    A file ends after the first newline that comes within :data:`MARGIN` of its size, wherever
    reads have cut the stream; if there is none before it is full, it ends there.

    Args:
        data: What is to be written.
        start: What of it has been written, in bytes.
        filled: What the file holds, in bytes; less than ``size``.
        size: What it may hold, in bytes.

    Returns:
        The place in ``data`` up to which to write.
    """
    limit = start + size - filled
    if len(data) - start < size - MARGIN - filled:
        return len(data)
    newline = data.find(b"\n", max(start, limit - MARGIN - 1), limit)
    return min(limit, len(data)) if newline < 0 else newline + 1


def is_finished(filled: int, size: int, last: int) -> bool:
    """Tell whether a file is to be rotated, now that something was written.

    One that is full without a newline at its end is rotated only when more comes.

    Args:
        filled: What the file holds, in bytes.
        size: What it may hold, in bytes.
        last: The last byte that was written.
    """
    return filled >= size - MARGIN and last == 0x0A


def old_name(nanoseconds: int, *, safe: bool) -> str:
    """Give an old file's name.

    Args:
        nanoseconds: When it was finished, in Unix time.
        safe: It is complete and on disk.
    """
    return labels.label(nanoseconds).decode() + (".s" if safe else ".u")


def surplus(names: Iterable[bytes], files: int) -> list[bytes]:
    """Choose the old files that have to go, the oldest first.

    Args:
        names: All names in the directory.
        files: How many files there may be with ``current``.
    """
    old = sorted(name for name in names if name.startswith(b"@") and len(name) >= labels.LENGTH)
    return old[: max(0, len(old) - files + 1)]


class Way(Enum):
    """What to do with a file that was found when a directory is taken over."""

    REMOVE = "remove"
    #: It becomes an old file, complete.
    SAFE = "s"
    #: It becomes an old file, maybe torn.
    TORN = "u"


class Found(NamedTuple):
    """One thing to do at a takeover; files that aren't there are passed over."""

    name: str
    way: Way


def is_complete(mode: int) -> bool:
    """Tell whether a file's mode says that it is complete."""
    return bool(mode & COMPLETE_BIT)


def takeover(*, current: bool, processed: bool) -> tuple[Found, ...]:
    """Tell what to do with the files that another writer has left, in this order.

    Args:
        current: There is a ``current`` that was closed cleanly: it is just written on.
        processed: There is a ``processed`` that is complete: its original can go.
    """
    if current:
        return ()
    between = (
        (Found(PREVIOUS, Way.REMOVE), Found(PROCESSED, Way.SAFE))
        if processed
        else (Found(PROCESSED, Way.REMOVE), Found(PREVIOUS, Way.TORN))
    )
    return (
        Found(STATE, Way.REMOVE),
        Found(NEW_STATE, Way.REMOVE),
        *between,
        Found(CURRENT, Way.TORN),
    )
