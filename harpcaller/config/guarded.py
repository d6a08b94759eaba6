"""Files that others must not change, or not even read: their mode and owner, judged.

Whoever may write a script, a procedures file or a list of trusted certificates has the rights of
the daemon that goes by it; whoever may read a key can pass himself off as its owner.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from harpcaller.config.problems import Problem


@attrs.frozen
class Guarded:
    """A file that a daemon goes by.

    Args:
        path: Where it is; None and what isn't there are passed over, since whoever opens it tells.
        secret: Whether it is nobody else's to read, either.
    """

    path: Path | None
    secret: bool = False


@attrs.frozen
class Judgement:
    """What is wrong with files.

    Attributes:
        problems: What a daemon doesn't start with.
        warnings: What may be meant so.
    """

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def judged(files: Iterable[Guarded], uid: int) -> Judgement:
    """Look at files.

    Args:
        uid: The user that the daemon runs as.
    """
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for file in files:
        if file.path is None:
            continue
        try:
            found = os.stat(file.path)
            faults = [*_faults(found, file.secret), *_faults_of_folders(file.path)]
        except OSError:
            continue
        problems += (Problem(str(file.path), None, text) for text in faults)
        if found.st_uid not in (0, uid):
            owner = f"it belongs to user {found.st_uid}, who can change it;"
            expected = "root" if uid == 0 else f"root or user {uid}"
            warnings.append(Problem(str(file.path), None, f"{owner} expected {expected}"))
    return Judgement(tuple(problems), tuple(warnings))


def _faults_of_folders(path: Path) -> Iterator[str]:
    """Tell whether everybody may put another file in its place."""
    # It may be a link, which is exchanged where it is, and its target where that is.
    for folder in sorted({path.absolute().parent, path.resolve().parent}):
        mode = stat.S_IMODE(os.stat(folder).st_mode)
        # In one that is sticky, only their owners may rename and remove files.
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            how = f"(mode {mode:04o}); try chmod o-w {folder}"
            yield f"everybody may put another in its place, by its folder {how}"


def _faults(found: os.stat_result, secret: bool) -> Iterator[str]:
    mode = stat.S_IMODE(found.st_mode)
    if mode & stat.S_IWOTH:
        yield f"everybody may change it (mode {mode:04o}); try chmod o-w"
    if secret and mode & stat.S_IROTH:
        yield f"everybody may read it, and it is secret (mode {mode:04o}); try chmod o-r"
