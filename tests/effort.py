"""How much those tests try that could go on for ever.

The profile decides (see ``tests/__init__.py``): ``ci`` and ``dev`` try what a test asks for,
``quarter`` a quarter of that, ``nightly`` fifty times as much.
"""

from __future__ import annotations

from hypothesis import settings

_PERCENT = settings().max_examples


def tries(wanted: int) -> int:
    """Give how many cases a test tries that wants so many in CI; one at least."""
    return max(1, wanted * _PERCENT // 100)


def every(step: int) -> int:
    """Give the step in which a test goes through its cases that would take this one in CI."""
    return max(1, step * 100 // _PERCENT)
