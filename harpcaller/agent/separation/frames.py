"""Messages on a stream: a letter, a length, and fields behind their lengths.  Pure.

Everything has a bound, which is known from the letter on: what is longer is refused before it is
there.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, Generic, TypeVar

import attrs

from harpcaller.errors import HarpcallerError
from harpcaller.wire.agent import MAX_JOB_LENGTH, MAX_REQUEST_SIZE
from harpcaller.wire.client import JobId, as_arguments
from harpcaller.wire.fields import BadField
from harpcaller.wire.values import NotJSON, Raw, check

#: Levels of what is noted for the log.
LEVELS = ("debug", "info", "warn", "error", "critical")

_LENGTH = struct.Struct(">I")
_HEAD = struct.Struct(">cI")
_LARGEST = 2**63 - 1


class NotInTable(HarpcallerError):
    """The other side said something that it can't say; the message tells what was wrong."""


@attrs.frozen
class Field:
    """How a field is written.

    Args:
        longest: In bytes.
        write: Gives its bytes.
        read: Takes them; raises ``ValueError`` for what it can't be.
    """

    longest: int
    write: Callable[[Any], bytes]
    read: Callable[[bytes], Any]


def text(longest: int) -> Field:
    """Make a field of UTF-8."""
    return Field(longest, str.encode, bytes.decode)


def data(longest: int) -> Field:
    """Make a field of any bytes."""
    return Field(longest, bytes, bytes)


def json_value(longest: int) -> Field:
    """Make a field of one JSON value, on one line."""
    return Field(longest, bytes, _read_json)


def _read_json(written: bytes) -> Raw:
    raw = check(written)
    if raw != written:
        raise ValueError("expected JSON on one line, without any space around it")
    return raw


def _read_arguments(written: bytes) -> Raw:
    # On one line, since they are written into one.
    return as_arguments(_read_json(written))


def _read_number(written: bytes) -> int:
    if not written.isdigit() or not b"%d" % int(written) == written or int(written) > _LARGEST:
        raise ValueError("expected a number")
    return int(written)


def _read_flag(written: bytes) -> bool:
    if written not in (b"0", b"1"):
        raise ValueError("expected 0 or 1")
    return written == b"1"


def _read_peer(written: bytes) -> str:
    peer = written.decode("ascii")
    if peer != "?":
        _ = ip_address(peer)
        if not peer.isprintable():  # a scope may be anything
            raise ValueError("expected an address")
    return peer


def _read_job(written: bytes) -> JobId:
    job = written.decode()
    if not 1 <= len(job) <= MAX_JOB_LENGTH:
        raise ValueError("expected a job id")
    return JobId(job)


def _read_optional_job(written: bytes) -> JobId | None:
    return _read_job(written) if written else None


def _write_optional_job(job: JobId | None) -> bytes:
    return b"" if job is None else job.encode()


def _read_optional_seconds(written: bytes) -> float | None:
    if not written:
        return None
    seconds = float(written)
    if repr(seconds).encode() != written or not 0 < seconds < math.inf:
        raise ValueError("expected a positive number of seconds")
    return seconds


def _write_optional_seconds(seconds: float | None) -> bytes:
    return b"" if seconds is None else repr(float(seconds)).encode()


def _read_level(written: bytes) -> str:
    level = written.decode("ascii")
    if level not in LEVELS:
        raise ValueError("expected a level")
    return level


def _write_flag(flag: bool) -> bytes:
    return b"1" if flag else b"0"


#: From 0 to what 63 bits hold.
NUMBER = Field(19, b"%d".__mod__, _read_number)
FLAG = Field(1, _write_flag, _read_flag)
#: An address, or ``?``.
PEER = Field(64, str.encode, _read_peer)
JOB = Field(4 * MAX_JOB_LENGTH, str.encode, _read_job)
#: Empty for None.
OPTIONAL_JOB = Field(4 * MAX_JOB_LENGTH, _write_optional_job, _read_optional_job)
#: Positive; empty for None.
OPTIONAL_SECONDS = Field(32, _write_optional_seconds, _read_optional_seconds)
#: A procedure's, as JSON.
ARGUMENTS = Field(MAX_REQUEST_SIZE, bytes, _read_arguments)
LEVEL = Field(8, str.encode, _read_level)


Message = TypeVar("Message")


class Table(Generic[Message]):
    """What can be said in one direction.

    Args:
        rows: By their letters the messages, and how their fields are written.
        most: How long any of them may be, in bytes.
    """

    def __init__(
        self, rows: Mapping[bytes, tuple[type[Message], tuple[Field, ...]]], most: int
    ) -> None:
        self._rows = rows
        self._letters = {kind: letter for letter, (kind, _) in rows.items()}
        self._names = {kind: _names(kind) for kind, _ in rows.values()}
        #: The longest content of each message, in bytes.
        self.longest = {
            letter: min(most, sum(4 + field.longest for field in fields))
            for letter, (_, fields) in rows.items()
        }

    def encode(self, message: Message) -> bytes:
        """Write a message."""
        letter = self._letters[type(message)]
        _, fields = self._rows[letter]
        parts = [b""]
        for name, field in zip(self._names[type(message)], fields, strict=True):
            written = field.write(getattr(message, name))
            parts += _LENGTH.pack(len(written)), written
        parts[0] = _HEAD.pack(letter, sum(map(len, parts)))
        return b"".join(parts)

    def decode(self, letter: bytes, content: bytes) -> Message:
        """Read what stands behind a message's letter and length.

        Raises:
            NotInTable: It is none of the messages.
        """
        kind, fields = self._rows[letter]
        values = []
        position = 0
        for field in fields:
            written, position = _cut(content, position, field.longest)
            try:
                values.append(field.read(written))
            except (ValueError, NotJSON, BadField) as error:
                raise NotInTable(f"{kind.__name__}: {_without_content(error)}") from None
        if position != len(content):
            raise NotInTable(f"{kind.__name__}: more than its fields")
        return kind(*values)

    def reader(self) -> Reader[Message]:
        """Make what reads messages from a stream."""
        return Reader(self)


def _names(kind: Any) -> list[str]:
    return [one.name for one in attrs.fields(kind)]


def _cut(content: bytes, position: int, longest: int) -> tuple[bytes, int]:
    """Take a field out; gives where the next begins."""
    start = position + 4
    if start > len(content):
        raise NotInTable("a field is missing")
    (length,) = _LENGTH.unpack_from(content, position)
    if length > longest or start + length > len(content):
        raise NotInTable(f"a field of {length} bytes")
    return content[start : start + length], start + length


def _without_content(error: Exception) -> str:
    """Say what is wrong, but nothing of what was said: that may be a password."""
    return "not UTF-8" if isinstance(error, UnicodeError) else type(error).__name__


class Reader(Generic[Message]):
    """Cuts a stream into messages.

    Args:
        table: What can come.
    """

    def __init__(self, table: Table[Message]) -> None:
        self._table = table
        self._buffer = bytearray()
        self._start = 0

    def feed(self, data: bytes) -> None:
        """Add bytes as they came."""
        if self._start:
            del self._buffer[: self._start]
            self._start = 0
        self._buffer += data

    def next(self) -> Message | None:
        """Take the next message; None when it isn't complete yet.

        Raises:
            NotInTable: It is none, or is known not to become one.
        """
        head = self._start + _HEAD.size
        if len(self._buffer) <= self._start:
            return None
        letter = bytes(self._buffer[self._start : self._start + 1])
        longest = self._table.longest.get(letter)
        if longest is None:
            raise NotInTable(f"there is no message {letter!r}")
        if len(self._buffer) < head:
            return None
        _, length = _HEAD.unpack_from(self._buffer, self._start)
        if length > longest:
            raise NotInTable(f"a message {letter!r} of {length} bytes")
        if len(self._buffer) < head + length:
            return None
        content = bytes(self._buffer[head : head + length])
        self._start = head + length
        return self._table.decode(letter, content)

    def pending(self) -> int:
        """Count the bytes that were fed and not yet taken."""
        return len(self._buffer) - self._start
