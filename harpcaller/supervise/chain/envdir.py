"""``envdir DIR PROGRAM...``: run a program with variables set by the files of a directory.

The rules, for a file NAME:

- no bytes at all: the variable is taken away;
- else its value is the first line, less blanks and tabs at its end; NUL stands for a newline.

Names that begin with a dot are passed over.
"""

import os

from harpcaller.supervise.chain.execution import become
from harpcaller.supervise.messages import FAILED, fatal, usage

#: More of a file isn't looked at for the end of its first line: no system takes a longer value.
LONGEST_VALUE = 4 << 20


def main(argv: list[str]) -> int:
    """Set what the directory says, and become the program."""
    if len(argv) < 2:
        raise usage("envdir", "envdir dir child", FAILED)
    apply("envdir", argv[0])
    become("envdir", argv[1:])


def assignment(name: bytes, content: bytes) -> tuple[bytes, bytes | None]:
    """Tell what a file means: the variable and its value, or None to take it away.

    A name can have ``=`` in it; what comes after belongs to the value then.

    Args:
        name: The file's name.
        content: What is in the file; what comes after the first newline doesn't count.
    """
    variable, equals, begun = name.partition(b"=")
    if not content:
        return variable, (begun if equals else None)
    value = content.partition(b"\n")[0].rstrip(b" \t").replace(b"\0", b"\n")
    return variable, (begun + b"=" + value if equals else value)


def apply(tool: str, directory: str) -> dict[bytes, bytes | None]:
    """Change the environment of this process as a directory says.

    Args:
        tool: Whose messages they are.
        directory: The environment directory.

    Returns:
        What has changed: variables with their values, or None for those taken away.

    Raises:
        Ended: The directory or a file in it can't be read.
    """
    changes = {}
    for name, content in _files(tool, directory):
        variable, value = assignment(name, content)
        try:
            if value is None:
                os.unsetenv(variable)
            else:
                os.putenv(variable, value)
        except (OSError, ValueError):
            # Its name is empty: the file's begins with "=".
            what = f"unable to set {directory}/{os.fsdecode(name)}: a variable needs a name"
            raise fatal(tool, what) from None
        changes[variable] = value
    return changes


def _files(tool: str, directory: str) -> list[tuple[bytes, bytes]]:
    """Read all files of an environment directory."""
    # It need not be readable to be where we come back to.
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            os.chdir(directory)
        except OSError as error:
            raise fatal(tool, f"unable to switch to directory {directory}", error) from None
        try:
            names = os.listdir(b".")
        except OSError as error:
            raise fatal(tool, f"unable to read directory {directory}", error) from None
        shown = [name for name in names if not name.startswith(b".")]
        return [(name, _content(tool, directory, name)) for name in shown]
    finally:
        os.fchdir(here)
        os.close(here)


def _content(tool: str, directory: str, name: bytes) -> bytes:
    """Read a file of the current directory, as much of it as counts."""
    try:
        return _beginning(name)
    except FileNotFoundError:
        return b""  # deleted meanwhile, or a link that leads nowhere
    except OSError as error:
        raise fatal(tool, f"unable to read {directory}/{os.fsdecode(name)}", error) from None


def _beginning(name: bytes) -> bytes:
    """Read a file to the end of its first line at least; a pipe that nobody writes is empty."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        content = b""
        while piece := os.read(descriptor, 65536):
            content += piece
            if b"\n" in piece or len(content) > LONGEST_VALUE:
                break
    finally:
        os.close(descriptor)
    return content
