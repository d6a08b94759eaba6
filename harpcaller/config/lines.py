"""On which line of a TOML text each key stands.  Pure.

``tomllib`` reads the values and doesn't tell their lines.  This reads only the structure,
of a text that ``tomllib`` has found to be right already; so it needs to check nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping

#: Where something stands: the keys that lead to it, and the index in a list.
Place = tuple[str | int, ...]

_token = re.compile(
    r"""
      (?P<space>[ \t\r]+|\#[^\n]*)
    | (?P<newline>\n)
    | (?P<string>\"{3}(?:\\.|(?!\"{3}).)*\"{3,5} | '{3}(?:(?!'{3}).)*'{3,5}
        | "(?:\\.|[^"\\\n])*" | '[^'\n]*')
    | (?P<mark>[\[\]{},=.])
    | (?P<bare>[^\s\[\]{},=."'\#]+)
    """,
    re.VERBOSE | re.DOTALL,
)


def lines_of(text: str) -> Mapping[Place, int]:
    """Tell the line, from 1, of every table, key and list item of a valid TOML text."""
    return _Reader(text).lines


class _Reader:
    """One pass over the tokens; each method begins with ``self._now`` its first token."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Place, int] = {}
        # How many tables each list of tables has so far.
        self._counts: dict[Place, int] = {}
        self._tokens = _tokens(text)
        self._now = ""
        self._line = 1
        table: Place = ()
        self._step()
        while self._now:
            if self._now == "\n":
                self._step()
            elif self._now == "[":
                table = self._header()
            else:
                self._pair(table)

    def _step(self) -> str:
        """Go on to the next token; ``""`` is the end."""
        self._now, self._line = next(self._tokens, ("", self._line))
        return self._now

    def _keys(self, end: str) -> Place:
        """Read ``a."b".c`` and the mark that ends it."""
        keys: list[str] = []
        while self._now not in (end, ""):
            if self._now != ".":
                quoted = self._now[0] in "\"'"
                keys.append(tomllib.loads(f"k = {self._now}")["k"] if quoted else self._now)
            self._step()
        self._step()
        return tuple(keys)

    def _header(self) -> Place:
        line = self._line
        double = self._step() == "["
        if double:
            self._step()
        keys = self._keys("]")
        if double:
            self._step()
        return self._table(keys, line, another=double)

    def _table(self, keys: Place, line: int, another: bool) -> Place:
        """Tell the place of a table; one in a list of tables has its index in it."""
        place: Place = ()
        for number, key in enumerate(keys, 1):
            place += (key,)
            if another and number == len(keys):
                self.lines.setdefault(place, line)
                self._counts[place] = self._counts.get(place, 0) + 1
            if place in self._counts:
                place += (self._counts[place] - 1,)
        self.lines.setdefault(place, line)
        return place

    def _pair(self, table: Place) -> None:
        line = self._line
        place = table + self._keys("=")
        self.lines.setdefault(place, line)
        self._value(place)

    def _value(self, place: Place) -> None:
        if self._now == "[":
            self._step()
            index = 0
            while self._now not in ("]", ""):
                if self._now in (",", "\n"):
                    self._step()
                    continue
                self.lines.setdefault((*place, index), self._line)
                self._value((*place, index))
                index += 1
            self._step()
        elif self._now == "{":
            self._step()
            while self._now not in ("}", ""):
                if self._now in (",", "\n"):
                    self._step()
                else:
                    self._pair(place)
            self._step()
        else:
            # A time with a space in it, or a number with a point, is several tokens.
            while self._now not in (",", "]", "}", "\n", ""):
                self._step()


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    line = 1
    for found in _token.finditer(text):
        if found.lastgroup != "space":
            yield found.group(), line
        line += found.group().count("\n")
