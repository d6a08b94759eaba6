"""``harp``, the command line: call procedures, see what became of a job.

Starting must be quick: nothing is imported that isn't needed for every command.
"""

from __future__ import annotations

import io
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Callable, TextIO

from harpcaller.client.exceptions import HarpException, RemoteError
from harpcaller.client.options import command_options, parse
from harpcaller.client.selection import is_several
from harpcaller.client.terminal import (
    DONE,
    FAILED,
    INTERRUPTED,
    NOT_ASKED,
    NOT_READ,
    Terminal,
    complain,
)
from harpcaller.client.translation import refusal
from harpcaller.wire.client import (
    Call,
    Cancel,
    FollowStream,
    GetResult,
    GetStatus,
    JobId,
    QueueSpec,
)
from harpcaller.wire.client_answers import CancelOutcome, JobStatus, Submitted
from harpcaller.wire.values import NotJSON, Raw, build, check, encode

_named = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL).fullmatch


def _call(terminal: Terminal) -> int:
    options = terminal.options
    queue = None
    if options.queue is not None:
        queue = QueueSpec(options.queue, options.concurrency or 1)
    elif options.concurrency is not None:
        raise HarpException("--concurrency means nothing without --queue")
    arguments = _arguments(options.args)

    def call(host: str) -> Call:
        return Call(
            host,
            options.procedure,
            arguments,
            options.timeout,
            options.max_exec_time,
            queue,
            options.info,
        )

    rolls = options.batch is not None or options.max_failures is not None
    if rolls and options.no_wait:
        raise HarpException("--batch and --max-failures mean nothing with --no-wait")
    if rolls or is_several(options.host):
        from harpcaller.client.several import call_several

        return call_several(terminal, call)
    with terminal.held_interrupts() as held:
        try:
            answer = terminal.submit(call(options.host))
        except KeyboardInterrupt:
            terminal.message("given up; the job may have been submitted")
            return INTERRUPTED
        if not isinstance(answer, Submitted):
            raise refusal(answer)
        job_id = answer.job_id
        if options.no_wait:
            job = build({"job": encode(job_id)}).decode("utf-8")
            terminal.line(job if options.json else job_id)
            return INTERRUPTED if held.came else DONE

        def look() -> int:
            terminal.message(f"job {job_id}")
            if options.follow:
                return terminal.follow(FollowStream(job_id, since=0))
            return terminal.wait(job_id)

        return terminal.attend(job_id, look, held)


def _arguments(words: Sequence[str]) -> Raw:
    """Make a call's arguments of command line words.

    Raises:
        HarpException: Named and positional ones are mixed, or a name is there twice.
    """
    named = [(match.group(1), _value(match.group(2))) for match in map(_named, words) if match]
    if not named:
        return Raw(b"[%s]" % b",".join(map(_value, words)))
    if len(named) != len(words):
        raise HarpException(
            'arguments are either all NAME=VALUE or none; a string with "=" is written as JSON'
        )
    fields = dict(named)
    if len(fields) != len(named):
        raise HarpException("an argument's name stands twice")
    return build(fields)


def _value(word: str) -> Raw:
    """Read a word as JSON if it is, else as a string."""
    try:
        return check(word.encode("utf-8"))
    except NotJSON:
        return encode(word)
    except UnicodeEncodeError:
        raise HarpException(f"an argument is not UTF-8: {word!a}") from None


def _result(terminal: Terminal) -> int:
    job_id = JobId(terminal.options.job_id)
    if terminal.options.wait:
        return terminal.attend(job_id, lambda: terminal.wait(job_id))
    return terminal.ended(job_id, terminal.dispatcher.ask(GetResult(job_id, wait=False)))


def _follow(terminal: Terminal) -> int:
    options = terminal.options
    job_id = JobId(options.job_id)
    since = 0 if options.since is None and options.recent is None else options.since
    request = FollowStream(job_id, since, options.recent)
    return terminal.attend(job_id, lambda: terminal.follow(request))


def _status(terminal: Terminal) -> int:
    job_id = JobId(terminal.options.job_id)
    status = terminal.dispatcher.ask(GetStatus(job_id))
    if not isinstance(status, JobStatus):
        raise refusal(status)
    if terminal.options.json:
        terminal.line(status.answer.decode("utf-8").rstrip("\n"))
        return DONE
    for name, shown in (
        ("job", job_id),
        ("state", status.state),
        ("host", status.host),
        ("procedure", status.procedure),
        ("arguments", status.arguments.decode("utf-8")),
        ("queue", "-" if status.queue_name is None else status.queue_name.decode("utf-8")),
        ("info", status.info.decode("utf-8")),
        ("submitted", _time(status.submitted_at)),
        ("started", _time(status.started_at)),
        ("ended", _time(status.ended_at)),
    ):
        terminal.line(f"{name:<10} {shown}")
    return DONE


def _time(seconds: float | None) -> str:
    """Write a Unix time as local time, with the zone's offset."""
    if seconds is None:
        return "-"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):
        return f"{seconds} s"


def _cancel(terminal: Terminal) -> int:
    job_id = JobId(terminal.options.job_id)
    answer = terminal.dispatcher.ask(Cancel(job_id))
    if not isinstance(answer, CancelOutcome):
        raise refusal(answer)
    if terminal.options.json:
        fields = {"job": encode(job_id), "cancelled": encode(answer.cancelled)}
        terminal.line(build(fields).decode("utf-8"))
    elif answer.cancelled:
        terminal.line("cancelled")
    else:
        terminal.message(f"job {job_id} had ended already, or there is no such job")
    return DONE if answer.cancelled else FAILED


def _hosts(terminal: Terminal) -> int:
    from harpcaller.client.inventory import hosts

    return hosts(terminal)


def _procedures(terminal: Terminal) -> int:
    from harpcaller.client.inventory import procedures

    return procedures(terminal)


def _completion(terminal: Terminal) -> int:
    from harpcaller.client.completion import script

    terminal.drawn(script(terminal.options.shell, command_options()).rstrip("\n"))
    return DONE


_COMMANDS: dict[str, Callable[[Terminal], int]] = {
    "call": _call,
    "result": _result,
    "follow": _follow,
    "status": _status,
    "cancel": _cancel,
    "hosts": _hosts,
    "procedures": _procedures,
    "completion": _completion,
}


def main(
    argv: Sequence[str] | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Run ``harp``.

    Args:
        argv: What follows the command's name; None for this process's own.
        stdout: Where results go; None for this process's own.
        stderr: Where messages go, likewise.
        environ: Where ``HARPCALLER``, ``NO_COLOR`` and ``TERM`` may be set.
        pause: How to let seconds pass.

    Returns:
        The exit code.
    """
    out, err = stdout or sys.stdout, stderr or sys.stderr
    if isinstance(out, io.TextIOWrapper):
        # What we write is JSON, and JSON is UTF-8 whatever the locale says.
        out.reconfigure(encoding="utf-8")
    try:
        code = _run(sys.argv[1:] if argv is None else argv, out, err, environ, pause)
        out.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _stop_writing(out)
        return NOT_READ
    except HarpException as error:
        complain(err, str(error))
        return FAILED if isinstance(error, RemoteError) else NOT_ASKED
    except OSError as error:
        _stop_writing(out)
        complain(err, f"cannot write: {error.strerror}")
        return NOT_ASKED


def _run(
    argv: Sequence[str],
    out: TextIO,
    err: TextIO,
    environ: Mapping[str, str],
    pause: Callable[[float], None],
) -> int:
    try:
        with redirect_stdout(out), redirect_stderr(err):
            options = parse(argv, environ)
    except SystemExit as end:
        return NOT_ASKED if end.code else DONE
    terminal = Terminal(options, out, err, environ, pause)
    try:
        return _COMMANDS[options.command](terminal)
    finally:
        terminal.dispatcher.close()


def _stop_writing(out: TextIO) -> None:
    """Let what is still buffered go nowhere, or Python complains of it at its end."""
    try:
        descriptor = out.fileno()
    except OSError:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
