"""``harpcallerd``: the operators' command line tool.

It sends one command through the control socket and prints what comes back.  Results go to
standard output, everything else to standard error.  Exit codes: 0 done, 1 the answer is
no, 2 it could not be done or the command line is wrong.  No Twisted here: it takes longer
to import than everything that this tool does.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import BinaryIO, TextIO

from harpcaller import __version__
from harpcaller.config.tokens import is_name, new_token
from harpcaller.control.arguments import BadUsage, Invocation, parse, summary, usage
from harpcaller.control.connection import (
    Connection,
    Deadline,
    TimeIsUp,
    Unreachable,
    wait_for_process,
)
from harpcaller.control.launch import check_command, twistd_command
from harpcaller.control.screen import ReaderGone, Screen
from harpcaller.control.table import (
    HOST_COLUMNS,
    JOB_COLUMNS,
    QUEUE_COLUMNS,
    aligned,
    host_row,
    job_row,
    queue_row,
)
from harpcaller.errors import InvalidJobId, ProtocolError
from harpcaller.wire.control import (
    Command,
    ConfigRejected,
    ListHosts,
    ListJobs,
    ListQueue,
    ListQueues,
)
from harpcaller.wire.control_answers import Closing, Refusal
from harpcaller.wire.fields import BadField, as_boolean, as_integer, as_object, as_string
from harpcaller.wire.values import NotJSON, Raw, members

DONE = 0
NO = 1
FAILED = 2
INTERRUPTED = 130

#: How long ``status`` waits for a daemon that has taken its connection, in seconds.
STATUS_SECONDS = 10.0

#: Becomes another program: its path, and its arguments from its own name on.
Execute = Callable[[str, list[str]], object]


def main(
    argv: Sequence[str] | None = None,
    stdout: BinaryIO | None = None,
    stderr: TextIO | None = None,
    execute: Execute = os.execv,
) -> int:
    """Do what a command line says.

    Args:
        argv: The arguments, or None for the process's own.
        stdout: Where results go.
        stderr: Where complaints go.
        execute: What ``start`` becomes the daemon with.

    Returns:
        The exit code.
    """
    screen = Screen(stdout or sys.stdout.buffer, stderr or sys.stderr)
    try:
        code = _obey(sys.argv[1:] if argv is None else argv, screen, execute)
        screen.finish()
    except ReaderGone:
        if stdout is None:
            # Or the interpreter would try once more when it ends, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _obey(argv: Sequence[str], screen: Screen, execute: Execute) -> int:
    try:
        invocation = parse(argv)
    except BadUsage as error:
        screen.complain(str(error))
        screen.explain(error.usage)
        return FAILED
    if "help" in invocation.options:
        text = usage(invocation.command) if invocation.command else summary()
        screen.result(text.encode())
        return DONE
    if "version" in invocation.options:
        screen.result(f"harpcallerd {__version__}".encode())
        return DONE
    if invocation.command == "make-token":
        return _make_token(invocation, screen)
    if invocation.asked is None:
        return _become(invocation, screen, execute)
    try:
        return _COMMANDS.get(invocation.command, _plain)(invocation, invocation.asked, screen)
    except Refused as refused:
        return _refused(refused.refusal, screen)
    except Unreachable as error:
        screen.complain(f"cannot reach the daemon at {invocation.socket}: {error}")
    except (ProtocolError, NotJSON, BadField) as error:
        screen.complain(f"the daemon at {invocation.socket} gave an answer that is none: {error}")
    return FAILED


class Refused(Exception):
    """The daemon answered with an error."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def _refused(refusal: Refusal, screen: Screen) -> int:
    if refusal.type == InvalidJobId.wire_type:
        screen.complain("no such job")
        return NO
    for line in refusal.problems or (refusal.message,):
        screen.complain(line)
    if refusal.type == ConfigRejected.wire_type:
        screen.complain("the configuration is unchanged")
        return NO
    return FAILED


# --- What each command does with its answer ------------------------------------------------


def _become(invocation: Invocation, screen: Screen, execute: Execute) -> int:
    screen.finish()
    is_check = invocation.command == "store-check"
    command = check_command(invocation) if is_check else twistd_command(invocation)
    try:
        execute(command[0], command)
    except OSError as error:
        screen.complain(f"cannot start {command[0]}: {error.strerror}")
        return FAILED
    return DONE


def _make_token(invocation: Invocation, screen: Screen) -> int:
    """Print what goes into the tokens file, and tell the token beside it."""
    name = invocation.operand
    if not is_name(name):
        screen.complain("make-token: expected a NAME without colons, and no # or space at its ends")
        return FAILED
    token, line = new_token(name, os.urandom)
    screen.result(line.encode())
    screen.complain(f"the token of {name}, which isn't kept anywhere: {token}")
    return DONE


def _ask(connection: Connection, command: Command) -> dict[str, Raw]:
    """Send a command that isn't answered by a list, and give what the answer says."""
    line = next(connection.ask(command))
    if isinstance(line, Refusal):
        raise Refused(line)
    if not isinstance(line, Closing):
        raise ProtocolError("a list, where none was asked for")
    return line.found


def _member(answer: dict[str, Raw], name: str) -> Raw:
    if name not in answer:
        raise ProtocolError(f"{name}: missing")
    return answer[name]


def _plain(invocation: Invocation, command: Command, screen: Screen) -> int:
    with closing(Connection(invocation.socket, Deadline(None))) as connection:
        _ask(connection, command)
    return DONE


def _cancel(invocation: Invocation, command: Command, screen: Screen) -> int:
    with closing(Connection(invocation.socket, Deadline(None))) as connection:
        answer = _ask(connection, command)
    if not as_boolean(_member(answer, "cancelled"), "cancelled"):
        screen.complain("the job has ended already")
        return NO
    return DONE


def _prune(invocation: Invocation, command: Command, screen: Screen) -> int:
    with closing(Connection(invocation.socket, Deadline(None))) as connection:
        answer = _ask(connection, command)
    failed = as_integer(_member(answer, "failed"), "failed")
    if failed:
        removed = as_integer(_member(answer, "removed"), "removed")
        screen.complain(f"{failed} jobs could not be removed ({removed} were)")
        return FAILED
    return DONE


def _list(invocation: Invocation, command: Command, screen: Screen) -> int:
    """Print a list's items while they come."""
    with closing(Connection(invocation.socket, Deadline(None))) as connection:
        items = _items(connection, command, screen)
        if "table" in invocation.options:
            columns, row = _TABLES[type(command)]
            if "queue" in invocation.options:
                columns = (*columns, "QUEUE")
            for text in aligned(columns, map(row, items)):
                screen.result(text.encode("utf-8", "backslashreplace"))
        elif isinstance(command, ListQueues):
            for item in items:
                screen.result(_member(members(item), "queue"))
        else:
            for item in items:
                screen.result(item)
    return DONE


_TABLES: Mapping[type[Command], tuple[tuple[str, ...], Callable[[Raw], list[str]]]] = {
    ListJobs: (JOB_COLUMNS, job_row),
    ListQueue: (JOB_COLUMNS, job_row),
    ListQueues: (QUEUE_COLUMNS, queue_row),
    ListHosts: (HOST_COLUMNS, host_row),
}


def _items(connection: Connection, command: Command, screen: Screen) -> Iterator[Raw]:
    for line in connection.ask(command):
        if isinstance(line, Refusal):
            raise Refused(line)
        if isinstance(line, Closing):
            return
        if b'"error"' in line and "error" in (found := members(line)):
            why = as_object(found["error"], "error")
            job_id = as_string(_member(found, "job"), "job")
            screen.complain(f"job {job_id}: {as_string(_member(why, 'message'), 'message')}")
        else:
            yield Raw(line)


def _status(invocation: Invocation, command: Command, screen: Screen) -> int:
    wait = "wait" in invocation.options
    seconds = invocation.timeout_seconds
    if seconds is None and not wait:
        seconds = STATUS_SECONDS
    deadline = Deadline(seconds)
    try:
        state = _state(invocation.socket, command, deadline, wait)
    except TimeIsUp:
        if not wait:
            screen.complain(f"the daemon didn't answer within {seconds:g} seconds")
            return FAILED
        state = "not running"
    if state == "starting":
        screen.complain("the daemon is starting")
        state = "not running"
    screen.result(state.encode())
    return DONE if state == "running" else NO


def _state(path: str, command: Command, deadline: Deadline, wait: bool) -> str:
    """Ask how the daemon is; with ``wait``, until there is one and it has started."""
    while True:
        try:
            with closing(Connection(path, deadline)) as connection:
                return as_string(_member(_ask(connection, command), "status"), "status")
        except Unreachable as error:
            if not wait and error.nobody:
                return "not running"
            # A daemon that dies while it starts may be started again.
            if not wait or not (error.nobody or error.broke_off):
                raise
        time.sleep(deadline.nap())


def _stop(invocation: Invocation, command: Command, screen: Screen) -> int:
    """Ask the daemon to stop, and wait until its process is gone."""
    deadline = Deadline(invocation.timeout_seconds)
    pid: int | None = None
    try:
        with closing(Connection(invocation.socket, deadline)) as connection:
            pid = as_integer(_member(_ask(connection, command), "pid"), "pid", least=1)
            if "print-pid" in invocation.options:
                screen.result(b"%d" % pid)
                screen.finish()
            # Its process may be invisible from here (another namespace), its connection isn't.
            connection.wait_for_end()
        wait_for_process(pid, deadline)
    except Unreachable as error:
        if not error.nobody:
            raise
    except TimeIsUp:
        who = "the daemon" if pid is None else f"the daemon (process {pid})"
        screen.complain(f"{who} is still running after {invocation.options['timeout']} seconds")
        return FAILED
    return DONE


_COMMANDS: Mapping[str, Callable[[Invocation, Command, Screen], int]] = {
    "status": _status,
    "stop": _stop,
    "list": _list,
    "info": _list,
    "cancel": _cancel,
    "queue-list": _list,
    "hosts-list": _list,
    "prune-jobs": _prune,
}


if __name__ == "__main__":
    sys.exit(main())
