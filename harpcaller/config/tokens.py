"""Tokens by which clients are known: the file of their hashes.  Pure.

A line is ``name:hash``, the hash being ``sha256$`` and 64 hexadecimal digits; empty lines and
those that begin with ``#`` mean nothing.  A name may stand on several lines, so that a
token can be exchanged without a gap.

A token is 32 random bytes, so a fast hash without salt is as good as a slow one: there is
nothing to guess.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from hmac import compare_digest

from harpcaller.errors import HarpcallerError

_PREFIX = "sha256$"
_hash = re.compile(r"sha256\$[0-9a-f]{64}", re.ASCII).fullmatch


class BadTokens(HarpcallerError):
    """A file of tokens can't be read.

    Args:
        line: The number of the line that is wrong, from 1.
        message: What is wrong with it; nothing of its content.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class Tokens:
    """The names of clients, by the hashes of their tokens.

    Args:
        text: The file's content.

    Raises:
        BadTokens: It can't be understood.
    """

    def __init__(self, text: str = "") -> None:
        self._names: dict[str, str] = {}
        for number, line in enumerate(text.split("\n"), 1):
            content = line.strip()
            if content and not content.startswith("#"):
                name, _, hashed = content.rpartition(":")
                if not is_name(name):
                    raise BadTokens(number, "expected <name>:sha256$<hash>")
                if not _hash(hashed):
                    raise BadTokens(number, "expected sha256$ and 64 hexadecimal digits at its end")
                if self._names.get(hashed, name) != name:
                    raise BadTokens(number, f"another client has the same token as {name}")
                self._names[hashed] = name

    def owner(self, token: str) -> str | None:
        """Give the name of the client that has this token; None if nobody has."""
        hashed = _hashed(token)
        found = None
        for known, name in self._names.items():
            if compare_digest(hashed, known):
                found = name
        return found


def is_name(name: str) -> bool:
    """Tell whether a client can be called this."""
    return (
        0 < len(name) <= 200
        and name.isprintable()
        and name == name.strip()
        and ":" not in name
        and not name.startswith("#")
    )


def new_token(name: str, random_bytes: Callable[[int], bytes]) -> tuple[str, str]:
    """Make a token.

    Returns:
        The token, to be given to the client and to nobody else, and its line in the file.
    """
    token = urlsafe_b64encode(random_bytes(32)).rstrip(b"=").decode()
    return token, f"{name}:{_hashed(token)}"


def _hashed(token: str) -> str:
    return _PREFIX + sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
