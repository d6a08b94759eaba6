"""``supervise/status``, bytes ⇄ values: what is known of a service to whoever may read it.

=====  =======================================================================
bytes  meaning
=====  =======================================================================
0-7    seconds of the last change of pid, TAI64, big-endian
8-11   its nanoseconds, big-endian
12-15  the pid, *little*-endian; 0: down
16     1: paused
17     wanted: ``u``, ``d``, or 0 for once
18     only daemontools-encore: 0 stopped 1 starting 2 started 3 running 4 stopping 5 failed
19     only daemontools-encore: 0
=====  =======================================================================

We write 18 bytes, as the original does: no longer form suits all the other readers.  PURE.
"""

from __future__ import annotations

from typing import NamedTuple

from harpcaller.supervise.tai64n.labels import PACKED_LENGTH, from_packed, packed

SIZE = 18

#: What encore's 19th byte means.
_ENCORE_STATES = ("stopped", "starting", "started", "running", "stopping", "failed")
_ENCORE_SIZES = (20, 40)


class NotStatus(ValueError):
    """The bytes aren't a status."""


class Status(NamedTuple):
    """A status file.

    Attributes:
        changed: Unix time of the last change of pid, in nanoseconds.
        pid: 0 if down.
        is_paused: Whether it was stopped by SIGSTOP.
        want: ``u``, ``d``, or a zero byte for once; any other byte is taken as it is.
        encore_state: The word of daemontools-encore for it; None if it wasn't the writer.
    """

    changed: int
    pid: int
    is_paused: bool
    want: int
    encore_state: str | None = None

    @property
    def seconds(self) -> int:
        """Whole Unix seconds of the last change, as the original counts them."""
        return self.changed // 10**9


def encode_status(status: Status) -> bytes:
    """Give the 18 bytes."""
    return (
        packed(status.changed)
        + (status.pid & 0xFFFFFFFF).to_bytes(4, "little")
        + bytes((status.is_paused and status.pid != 0, status.want))
    )


def decode_status(data: bytes) -> Status:
    """Read a status that anybody wrote.

    Raises:
        NotStatus: It is shorter than 18 bytes.
    """
    if len(data) < SIZE:
        raise NotStatus(f"{len(data)} bytes where at least {SIZE} are expected")
    changed = from_packed(data[:PACKED_LENGTH])
    pid = int.from_bytes(data[12:16], "little")
    encore = None
    if len(data) in _ENCORE_SIZES and data[18] < len(_ENCORE_STATES) and data[19] == 0:
        encore = _ENCORE_STATES[data[18]]
    return Status(changed, pid, data[16] != 0, data[17], encore)
