"""``harpsv --link DIR``: daemontools' names in a directory.

The links lead to one small script beside them, ``harpsv-tool``.  A console script wouldn't do:
installers write it, so that it can't tell Python to leave out the search for installed packages,
which takes longer than all that the exec-chain tools do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harpcaller.supervise.messages import fatal

#: The script that the links lead to.
SCRIPT = "harpsv-tool"
#: The longest first line that every kernel understands, in bytes.
LONGEST_FIRST_LINE = 127

_MARK = "# Made by harpsv --link: all names in this directory that lead here are its tools."
_BODY = """\
{mark}
import sys
sys.path.append({where!r})
try:
    from harpcaller.supervise.harpsv import main
except ImportError as error:
    advice = "make the links again with harpsv --link"
    print(f"{{sys.argv[0]}}: fatal: {{error}}: {{advice}}", file=sys.stderr)
    sys.exit(111)
sys.exit(main())
"""


def script(interpreter: str, where: str) -> str:
    """Write the script that the links lead to.

    Args:
        interpreter: The absolute path of Python.
        where: The directory that has the package ``harpcaller``.
    """
    line = f"#!{interpreter} -IS"
    if " " in interpreter or len(os.fsencode(line)) > LONGEST_FIRST_LINE:
        # The kernel would take the path apart or cut it: a shell finds it.  To Python, what
        # the shell runs is a string.
        quoted = "'" + interpreter.replace("'", "'\"'\"'") + "'"
        line = f"#!/bin/sh\n'''exec' {quoted} -IS \"$0\" \"$@\"\n' '''"
    return f"{line}\n{_BODY.format(mark=_MARK, where=where)}"


def make_links(directory: str, tools: Sequence[str]) -> None:
    """Make the script and a link to it for each tool, or renew them.

    Nothing is touched when a name is taken by something that isn't such a link.

    Args:
        directory: Where; made if it isn't there.
        tools: The links' names.

    Raises:
        Ended: The directory can't be written, or has another file with a tool's name.
    """
    folder = Path(directory)
    where = str(Path(__file__).resolve().parents[2])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        foreign = [name for name in (SCRIPT, *tools) if not _ours(folder / name)]
        if foreign:
            what = f"{folder} has files of others: {' '.join(foreign)}; choose another directory"
            raise fatal("harpsv", what)
        _replace(folder, script(sys.executable, where))
        for tool in tools:
            with suppress(FileExistsError):
                (folder / tool).symlink_to(SCRIPT)
    except OSError as error:
        raise fatal("harpsv", f"unable to make links in {folder}", error) from None


def _ours(path: Path) -> bool:
    """Is there nothing with this name, or what an earlier call has made?"""
    if path.is_symlink():
        return os.readlink(path) == SCRIPT
    if not path.exists():
        return True
    return path.name == SCRIPT and path.is_file() and _MARK.encode() in path.read_bytes()


def _replace(folder: Path, text: str) -> None:
    """Put a new script in the old one's place, so that one that starts now is whole."""
    new = folder / f".{SCRIPT}.{os.getpid()}"
    try:
        new.write_bytes(os.fsencode(text))
        new.chmod(0o755)
        new.rename(folder / SCRIPT)
    finally:
        new.unlink(missing_ok=True)
