"""The descriptors of this process, as other processes may have copies of them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def copy_of(file: Path) -> int:
    """Copy the descriptor by which this process has a file open, as a fork does."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if file.samefile(f"/proc/self/fd/{name}"):
                return os.dup(int(name))
    raise AssertionError(f"{file} isn't open")
