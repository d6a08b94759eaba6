"""Which lines an action gets.  No input or output here.

A pattern is compared with a whole line, byte by byte.  A star at its end matches whatever
is left.  Any other star skips to the *first* place of the byte that follows it, with no going back:
``*one`` doesn't match ``oneone``.  That byte may be a star, too: ``**`` matches lines that have a
star.  Only a line's first 1000 bytes are compared.

A line is selected at first; each pattern may change that, so the last one that matches decides.
Patterns are made into regular expressions that look at each byte once for each of them: no
pattern takes long.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from harpcaller.supervise.multilog.script import Deselect, Select

#: How much of a line is compared, in bytes.
COMPARED = 1000

_Match = Callable[[bytes, int, int], re.Match[bytes] | None]


def expression(pattern: bytes) -> bytes:
    """Give the regular expression that matches, in full, what a pattern does."""
    parts = []
    for place, byte in enumerate(pattern):
        following = pattern[place + 1 : place + 2]
        if byte != ord("*"):
            parts.append(re.escape(bytes([byte])))
        elif following:
            # Not more than once over the same bytes, so no going back: hence the plus.
            stop = re.escape(following)
            parts.append(b"[^%b]*+(?=%b)" % (stop, stop))
        else:
            parts.append(b".*+")
    return b"".join(parts)


class Selection:
    """What a series of patterns selects.

    Args:
        patterns: The patterns that come before an action in its script, in order.
    """

    def __init__(self, patterns: Iterable[Select | Deselect]) -> None:
        default = True
        runs: list[tuple[bool, list[bytes]]] = []
        for one in patterns:
            verdict = isinstance(one, Select)
            if one.pattern == b"*":
                # Whatever came before doesn't matter any more.
                default, runs = verdict, []
            elif runs and runs[-1][0] == verdict:
                runs[-1][1].append(one.pattern)
            elif runs or default != verdict:
                runs.append((verdict, [one.pattern]))
        self._default = default
        # Verdicts alternate, the first one is not the default's.
        self._runs = [(verdict, _any_of(some)) for verdict, some in runs]

    @property
    def everything(self) -> bool:
        """Every line is selected, whatever it is."""
        return self._default and not self._runs

    @property
    def nothing(self) -> bool:
        """No line is selected, whatever it is."""
        return not self._default and not self._runs

    def selects(self, line: bytes) -> bool:
        """Judge one line, given without its newline, or its first 1000 bytes."""
        verdict = self._default
        for new, matches in self._runs:
            if verdict != new and matches(line, 0, COMPARED) is not None:
                verdict = new
        return verdict

    def chosen(self, lines: list[bytes]) -> list[bytes]:
        """Give those lines that are selected; all without their newlines."""
        match self._runs:
            case []:
                return lines if self._default else []
            # One run is what nearly all scripts have: no call of ours for each line.
            case [(True, matches)]:
                return [line for line in lines if matches(line, 0, COMPARED) is not None]
            case [(False, matches)]:
                return [line for line in lines if matches(line, 0, COMPARED) is None]
            case _:
                return [line for line in lines if self.selects(line)]


def _any_of(patterns: list[bytes]) -> _Match:
    return re.compile(b"|".join(map(expression, patterns)), re.DOTALL).fullmatch
