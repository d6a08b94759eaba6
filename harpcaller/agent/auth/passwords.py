"""Changing the users' file that :mod:`harpcaller.agent.auth.passfile` reads.

Other lines stay as they are, comments and mistakes included.  The file is replaced whole:
whoever reads it gets the old content or the new.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: Who may read or write a file of passwords at most: its owner, and its group may read.
_MOST_MODE = 0o640
_NEW_MODE = 0o600


class BadUser(ValueError):
    """No user can have this name; the message says why."""


def check_name(user: str) -> None:
    """See whether a user can be called this.

    Raises:
        BadUser: The file couldn't hold it.
    """
    if not user or user != user.strip() or user.startswith("#") or ":" in user:
        raise BadUser(
            "a user's name isn't empty, has no colon in it, and no # or space at its ends"
        )
    if not user.isprintable():
        raise BadUser("a user's name has only printable characters")


def names(text: str) -> list[str]:
    """Tell which users a file has."""
    found = (_name(line) for line in text.split("\n"))
    return [name for name in found if name]


def with_user(text: str, user: str, hashed: str) -> str:
    """Give the file's content with a user's hash put in, or in place of the old one."""
    fresh = f"{user}:{hashed}"
    if user not in names(text):
        return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{fresh}\n"
    lines = []
    for line in text.split("\n"):
        if _name(line) != user:
            lines.append(line)
        elif fresh:
            lines.append(fresh)
            fresh = ""  # should he stand there twice
    return "\n".join(lines)


def without_user(text: str, user: str) -> str:
    """Give the file's content without a user.

    Raises:
        KeyError: He isn't in it.
    """
    if user not in names(text):
        raise KeyError(user)
    return "\n".join(line for line in text.split("\n") if _name(line) != user)


def _name(line: str) -> str | None:
    content = line.strip()
    if content.startswith("#"):
        return None
    name, colon, _ = content.partition(":")
    return name if colon else None


def change(path: Path, edit: Callable[[str], str]) -> None:
    """Replace a file's content by what a function makes of it; nobody else does meanwhile.

    Its owner, its group and what the two may do stay; a new file is only its owner's.

    Raises:
        OSError: It can't be read or written; then it is as it was.
        UnicodeDecodeError: It isn't UTF-8.
    """
    path = Path(os.path.realpath(path))
    with _locked(path.parent) as folder:
        try:
            with path.open("rb") as stream:
                before: os.stat_result | None = os.fstat(stream.fileno())
                text = stream.read().decode()
        except FileNotFoundError:
            before, text = None, ""
        _replace(path, edit(text).encode(), before)
        os.fsync(folder)


def _replace(path: Path, content: bytes, before: os.stat_result | None) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            if before is not None:
                now = os.fstat(descriptor)
                if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
                    os.fchown(descriptor, before.st_uid, before.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(before.st_mode) & _MOST_MODE)
            else:
                os.fchmod(descriptor, _NEW_MODE)
            _ = stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        os.replace(name, path)
    except BaseException:  # whatever it is, a ^C too, no copy of the hashes stays about
        with suppress(OSError):
            os.unlink(name)
        raise


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Keep others who change files there out, by a lock on the folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
