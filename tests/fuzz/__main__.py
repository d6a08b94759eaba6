"""Hunts for inputs that a parser can't bear: ``python -m tests.fuzz [TARGET...] --inputs N``.

With atheris (``pip install atheris``), which sees what code an input reaches, hunts begin with the
corpus and add to it; without it, hypothesis changes the corpus at random.  An input that was found
is printed; it belongs into the corpus, and into a test of its own beside the parser.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.changing import changed
from tests.fuzz.corpus import keep, kept, worth_keeping
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

#: The longest input that is tried, in bytes.
LONGEST = 2048
#: How long one input may take, in seconds.
PATIENCE_SECONDS = 10


def by_hypothesis(target: Target, inputs: int) -> str | None:
    """Hunt; gives what was found, None if nothing was."""

    @settings(
        max_examples=inputs,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(changed(target))
    def hunt(data: bytes) -> None:
        target.look_at(data)

    try:
        hunt()
    except Exception as error:  # noqa: BLE001  # whatever it is, it wasn't to come out
        notes = "\n".join(getattr(error, "__notes__", ()))
        return f"{type(error).__name__}: {error}\n{notes}"
    return None


def by_atheris(target: Target, inputs: int, seed: int, *, adds: bool) -> str | None:
    """Hunt, and keep in the corpus what reaches code that nothing else reaches.

    Args:
        target: What is fed.
        inputs: How many inputs to try.
        seed: Chooses others.
        adds: Whether to keep anything.

    Returns:
        What was found, None if nothing was.
    """
    with tempfile.TemporaryDirectory(prefix="harpcaller-fuzz-") as name:
        folder = Path(name)
        old, new, words = folder / "old", folder / "new", folder / "words"
        for some in (old, new):
            some.mkdir()
        for number, data in enumerate([*target.seeds, *kept(target.name)]):
            (old / str(number)).write_bytes(data)
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
        found = _run(
            target.name,
            f"-runs={inputs}",
            f"-seed={seed}",
            f"-max_len={LONGEST}",
            f"-timeout={PATIENCE_SECONDS}",
            f"-dict={words}",
            f"-artifact_prefix={folder}/found-",
            str(new),
            str(old),
        )
        inputs_found = [file.read_bytes() for file in folder.glob("found-*")]
        if found.returncode or inputs_found:
            return f"{_end(found.stdout)}\n" + "\n".join(map(repr, inputs_found))
        if adds:
            everything = [*old.iterdir(), *new.iterdir()]
            keep(target.name, worth_keeping(target, [file.read_bytes() for file in everything]))
    return None


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.hunter", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _end(said: str) -> str:
    """Give the exception that libFuzzer tells of, or the end of what it says."""
    found = re.search(r" === Uncaught Python exception: ===\n.*?(?=\n==|\Z)", said, re.DOTALL)
    return found[0] if found else said[-2000:]


def main() -> int:
    """Run the command; gives the exit code."""
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", help=f"of {', '.join(TARGETS)}; all if none is given")
    parser.add_argument("--inputs", type=int, default=100_000, help="how many for each target")
    parser.add_argument("--seed", type=int, default=1, help="chooses others (atheris only)")
    parser.add_argument("--keep", action="store_true", help="add to the corpus (atheris only)")
    parser.add_argument("--with", dest="by", choices=("atheris", "hypothesis"))
    options = parser.parse_args()
    unknown = [name for name in options.target if name not in TARGETS]
    if unknown:
        parser.error(f"no such target: {unknown[0]}")
    has_atheris = importlib.util.find_spec("atheris") is not None
    by = options.by or ("atheris" if has_atheris else "hypothesis")
    failed = 0
    for name in options.target or TARGETS:
        target = TARGETS[name]
        if by == "atheris":
            found = by_atheris(target, options.inputs, options.seed, adds=options.keep)
        else:
            found = by_hypothesis(target, options.inputs)
        failed += found is not None
        print(f"{name}: {f'{options.inputs} inputs, nothing found' if found is None else found}")
        sys.stdout.flush()
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
