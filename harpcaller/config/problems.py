"""How a mistake in a configuration file is told; the same for both daemons."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import attrs

from harpcaller.errors import HarpcallerError


@attrs.frozen
class Problem:
    """One thing that is wrong, or only odd, in a file.

    Args:
        file: The file's path, as the user gave it.
        line: The line's number, from 1; None where no single line is at fault.
        message: The setting, what was expected, and what was found.
    """

    file: str
    line: int | None
    message: str

    def __str__(self) -> str:
        place = "" if self.line is None else f"line {self.line}: "
        return f"{self.file}: {place}{self.message}"


class ConfigurationError(HarpcallerError):
    """The configuration can't be used; as text, one line per problem.

    Args:
        problems: All of them, at least one.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def nearest(key: str, known: Iterable[str]) -> str | None:
    """Find the known key that was probably meant; None if none is similar."""
    by_lower = {name.lower(): name for name in known}
    found = get_close_matches(key.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None
