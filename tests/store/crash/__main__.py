"""Do cases again by their names: ``python -m tests.store.crash 'full 700 | s1 t1 e1 cut=...'``."""

from __future__ import annotations

import sys

from tests.store.crash import cuts, faults


def main(names: list[str]) -> int:
    """Do them, and print what came of each."""
    wrong = 0
    for name in names:
        try:
            if " cut=" in name:
                cuts.run(cuts.Cut.named(name))
            else:
                faults.run(faults.Fault.named(name))
        except cuts.Failed as error:
            wrong += 1
            print(f"WRONG  {error}")
        else:
            print(f"right  {name}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
