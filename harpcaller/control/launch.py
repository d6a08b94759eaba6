"""What ``harpcallerd`` becomes: ``start`` the daemon, ``store-check`` a program of its own.

This process is replaced and not forked from, so that a service manager watches the right
one, and Twisted is imported only there.
"""

from __future__ import annotations

import os
import sys

from harpcaller.control.arguments import DEFAULT_CONFIG, Invocation

#: What the new process runs: twistd's own entry, under its own name.
_TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"


def twistd_command(invocation: Invocation, python: str = sys.executable) -> list[str]:
    """Give the command line that ``twistd -n harpcaller --config=FILE --socket=PATH`` is.

    Paths are made absolute, because a detached twistd may change directory.  Without
    ``--pidfile`` none is written, where twistd by itself would leave one in the current
    directory.
    """
    options = invocation.options
    pidfile = options.get("pidfile")
    # -P: what lies in the current directory must not be imported by a daemon that root starts.
    command = [python, "-P", "-c", _TWISTD]
    if "detach" not in options:
        command.append("--nodaemon")
    command.append("--pidfile=" + ("" if pidfile is None else os.path.abspath(pidfile)))
    command.append("harpcaller")
    command.append("--config=" + os.path.abspath(options.get("config", DEFAULT_CONFIG)))
    command.append("--socket=" + os.path.abspath(invocation.socket))
    if "debug" in options:
        command.append("--debug")
    return command


def check_command(invocation: Invocation, python: str = sys.executable) -> list[str]:
    """Give the command line of the program that checks a store."""
    options = invocation.options
    command = [python, "-P", "-m", "harpcaller.service.store_check"]
    if "directory" in options:
        command.append("--directory=" + os.path.abspath(options["directory"]))
    else:
        command.append("--config=" + os.path.abspath(options.get("config", DEFAULT_CONFIG)))
    return command + [f"--{name}" for name in ("repair", "json") if name in options]
