"""TAI64N labels and stamps: Unix time ⇄ bytes.  No input or output here.

A label is ``@`` and 24 hexadecimal digits, lower case: 16 of seconds, 8 of nanoseconds.  Packed,
as in supervise's status file, it is 12 bytes, big-endian.  Seconds count from 2^62, which is
1970 in TAI.  As in all of daemontools TAI is taken to be Unix time and ten seconds, always:
there is no table of leap seconds, so a leap second's label is that of the second after it
(or whatever the system's clock does then), and labels go back to the very Unix time that they
were made from.
"""

from __future__ import annotations

import re

#: The second at which Unix time begins, as labels count.
EPOCH = 2**62 + 10
#: How long a label is, in bytes, its ``@`` included.
LENGTH = 25
#: How long a packed label is, in bytes.
PACKED_LENGTH = 12

_SECOND = 1_000_000_000
_label = re.compile(rb"@([0-9a-f]{16})([0-9a-f]{8})").fullmatch


def label(nanoseconds: int) -> bytes:
    """Give a moment's label.

    Args:
        nanoseconds: Unix time, in nanoseconds; may be negative.
    """
    return b"@" + packed(nanoseconds).hex().encode()


def from_label(text: bytes) -> int:
    """Give the moment that a label tells, as Unix time in nanoseconds.

    Raises:
        ValueError: It isn't ``@`` and 24 lower-case hexadecimal digits.
    """
    found = _label(text)
    if found is None:
        raise ValueError(f"not a TAI64N label: {text[:40]!r}")
    return (int(found[1], 16) - EPOCH) * _SECOND + int(found[2], 16)


def packed(nanoseconds: int) -> bytes:
    """Give a moment's label in 12 bytes.

    Args:
        nanoseconds: Unix time, in nanoseconds; may be negative.
    """
    seconds, rest = divmod(nanoseconds, _SECOND)
    # A clock may be wrong by more than there is time: it goes round then.
    return ((EPOCH + seconds) % 2**64).to_bytes(8, "big") + rest.to_bytes(4, "big")


def from_packed(data: bytes) -> int:
    """Give the moment that 12 bytes tell, as Unix time in nanoseconds.

    Raises:
        ValueError: It isn't 12 bytes.
    """
    if len(data) != PACKED_LENGTH:
        raise ValueError(f"a packed TAI64N label has {PACKED_LENGTH} bytes, not {len(data)}")
    seconds = int.from_bytes(data[:8], "big") - EPOCH
    return seconds * _SECOND + int.from_bytes(data[8:], "big")


class Stamper:
    """Puts a label and a space before each line of a stream that comes in pieces.

    A line's label is that of the piece that brought its first byte: it tells when the line began
    to arrive.  Lines that came in one piece share one.
    """

    def __init__(self) -> None:
        self._between_lines = True

    def stamped(self, data: bytes, nanoseconds: int) -> bytes:
        """Give a piece with its stamps.

        Args:
            data: What came; it may begin and end anywhere in a line.
            nanoseconds: When it came, in Unix time.
        """
        if not data:
            return data
        stamp = label(nanoseconds) + b" "
        begins, self._between_lines = self._between_lines, data.endswith(b"\n")
        text = data.replace(b"\n", b"\n" + stamp)
        if self._between_lines:
            # The next line hasn't begun.
            text = text[: -len(stamp)]
        return stamp + text if begins else text
