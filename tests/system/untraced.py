"""Processes of ours whose lines needn't be measured, since other tests run the same ones.

Being traced doubles what the start of a daemon costs, and more than doubles what it does often;
it would be the most of what there is to do for some tests.
"""

from __future__ import annotations

from collections.abc import Mapping


def untraced(environ: Mapping[str, str]) -> dict[str, str]:
    """Give an environment in which a process isn't traced for coverage."""
    return {name: value for name, value in environ.items() if not name.startswith("COVERAGE")}
