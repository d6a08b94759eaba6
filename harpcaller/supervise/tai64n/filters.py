"""How a filter reads and writes: everything that came goes on before it reads again.

So ``tail -f`` through a filter shows each line as it comes, and memory is bounded.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from harpcaller.supervise.chain.inherited import put_back
from harpcaller.supervise.messages import FAILED

#: How much is read at once, in bytes.
BLOCK = 65536


def filtered(change: Callable[[bytes], bytes], end: Callable[[], bytes] | None = None) -> int:
    """Pass standard input through a function to standard output; gives the exit code.

    Args:
        change: Is called with each piece; gives what to write for it.
        end: Is called when the input has ended; gives what is left to write.
    """
    # A filter dies silently with the pager that it writes to.
    put_back()
    try:
        while data := os.read(0, BLOCK):
            _write(change(data))
        if end is not None:
            _write(end())
    except OSError:
        return FAILED
    return 0


def _write(data: bytes) -> None:
    """Write all of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]
