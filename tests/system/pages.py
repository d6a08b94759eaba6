"""What a page tells people to do, step by step, and a shell that does it.

A block with a caption is a file to be written.  In a block of the language ``console``, what stands
after ``$`` is to be typed, and what follows is what one should see; ``...`` stands for
anything.  Of a command after which nothing is shown, nothing is expected but success.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from harpcaller.testing.installation import PATIENCE

_block = re.compile(
    r"^\.\. (?P<directive>code-block|literalinclude):: (?P<argument>\S+)\n"
    r"(?P<options>(?:   :.*\n)*)"
    r"(?:\n(?P<body>(?:   .*\n|\n)+))?",
    re.MULTILINE,
)
_option = re.compile(r"^   :(\w+): *(.*)$", re.MULTILINE)

#: Commands that only look.  A person reads what they say when it is there.
_ONLY_LOOK = ("grep ", "tail ")


@attrs.frozen
class Written:
    """A file that the page has people write."""

    name: str
    text: str


@attrs.frozen
class Typed:
    """A command that the page has people type, and what they should see."""

    command: str
    shown: str
    as_root: bool

    def is_seen(self, said: str) -> bool:
        """See whether what a command has said is what the page shows."""
        pattern = ".*".join(re.escape(part) for part in self.shown.split("..."))
        return re.fullmatch(pattern, said.strip("\n"), re.DOTALL) is not None


def steps(page: Path) -> Iterator[Written | Typed]:
    """Give what a page tells to do, in order."""
    for block in _block.finditer(page.read_text("utf-8")):
        options = dict(_option.findall(block["options"]))
        body = textwrap.dedent(block["body"] or "").rstrip("\n") + "\n"
        if block["directive"] == "literalinclude":
            body = (page.parent / block["argument"]).read_text("utf-8")
        if "caption" in options:
            yield Written(options["caption"], body)
        elif block["argument"] == "console":
            yield from _typed(body, options.get("class") == "as-root")


def _typed(body: str, as_root: bool) -> Iterator[Typed]:
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command = re.match(r"(?:.*\\\n)*.*\n", part)
        assert command is not None
        yield Typed(command[0].rstrip("\n"), part[command.end() :].strip("\n"), as_root)


class NotAsShown(AssertionError):
    """A command didn't do what the page shows."""


class Shell:
    """A shell that is typed into, and remembers folders, variables and jobs.

    Args:
        folder: Where it starts.
        environ: Its environment.
        patience: How long a command may take, in seconds.
        look_patience: How long what only looks may look in vain, in seconds.
    """

    _MARK = "-- the command has ended with"

    def __init__(
        self,
        folder: Path,
        environ: Mapping[str, str],
        patience: float,
        look_patience: float = PATIENCE,
    ) -> None:
        self._patience = patience
        self._look_patience = look_patience
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Whatever is left over in the end is in this session.
            start_new_session=True,
        )

    def follow(self, step: Typed) -> None:
        """Do what the page says.

        Raises:
            NotAsShown: Something else is seen than what the page shows.
        """
        deadline = time.monotonic() + self._look_patience
        while True:
            code, said = self._type(step.command)
            if step.is_seen(said) if step.shown else code == 0:
                return
            if not step.command.startswith(_ONLY_LOOK) or time.monotonic() > deadline:
                raise NotAsShown(
                    f"$ {step.command}\nended with {code}; the page shows\n{step.shown}\n"
                    f"and there was\n{said}"
                )
            time.sleep(0.1)

    def _type(self, command: str) -> tuple[int, str]:
        """Run a command; give its exit code and what it printed."""
        assert self._process.stdin is not None
        line = f"{{ {command}\n}} < /dev/null\nprintf '\\n{self._MARK} %d\\n' $?\n"
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()
        said, _, code = self._read_to_mark(command).rpartition(f"\n{self._MARK} ")
        return int(code), said

    def _read_to_mark(self, command: str) -> str:
        assert self._process.stdout is not None
        stream = self._process.stdout.fileno()
        deadline = time.monotonic() + self._patience
        said = b""
        mark = re.compile(rf"\n{self._MARK} \d+\n".encode())
        while not mark.search(said):
            ready, _, _ = select.select([stream], [], [], max(0, deadline - time.monotonic()))
            data = os.read(stream, 65536) if ready else b""
            if not data:
                raise NotAsShown(f"$ {command}\ndid not end; there was\n{said.decode()}")
            said += data
        return said.decode()

    def close(self) -> None:
        """End the shell and all that it has started."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(self._patience)
