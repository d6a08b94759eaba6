"""One hunt in a process of its own, by atheris: it ends with the process, as libFuzzer has it.

``python -m tests.fuzz.hunter TARGET`` and libFuzzer's arguments; ``python -m tests.fuzz`` sees to
those.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any


def main(arguments: list[str]) -> None:
    """Hunt."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["harpcaller"], enable_loader_override=False):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[arguments[0]]
    atheris.Setup([sys.argv[0], *arguments[1:]], target.look_at, enable_python_coverage=True)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
