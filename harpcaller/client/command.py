"""``harp``, the command line: call a procedure, see what became of a job.

What the network brings is shown as the bytes that came, so that no number is changed by the
showing.  Starting must be quick: nothing is imported that isn't needed for every command.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import Callable, TextIO

from harpcaller.client.dispatcher import Dispatcher
from harpcaller.client.exceptions import HarpException, RemoteError
from harpcaller.client.options import parse
from harpcaller.client.translation import checked, refusal
from harpcaller.wire.client import (
    Answer,
    Call,
    Cancel,
    CancelOutcome,
    FollowStream,
    GetResult,
    GetStatus,
    JobId,
    JobStatus,
    NotEnded,
    QueueSpec,
    Record,
    Submitted,
    encode_record,
    encode_status,
)
from harpcaller.wire.ending import Cancelled, Failed, Raised, Returned, members_of
from harpcaller.wire.values import NULL, TRUE, NotJSON, Raw, build, check, encode, indented

#: It is done, or the call returned.
DONE = 0
#: The call ended in an exception, an error or a cancel; or the answer is a no.
FAILED = 1
#: It could not be asked: bad usage, or no way to the dispatcher.
NOT_ASKED = 2
#: The job has not ended yet.
NOT_ENDED = 3
#: ^C, as the shell counts it.
INTERRUPTED = 130
#: Nobody reads our output any more, as the shell counts it.
NOT_READ = 141

#: Seconds in which a second ^C cancels the job.
_SECOND_THOUGHT_SECONDS = 2.0

_named = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL).fullmatch


#: What could move a terminal's cursor or worse, and how it is shown: as JSON writes it.
_CONTROLS = {code: f"\\u{code:04x}" for code in (*range(32), *range(127, 160)) if code != 10}


class _Terminal:
    """Where a command reads its options and writes what it finds."""

    def __init__(
        self,
        options: argparse.Namespace,
        out: TextIO,
        err: TextIO,
        pause: Callable[[float], None],
    ) -> None:
        self.options = options
        host, port = options.dispatcher
        self.dispatcher = Dispatcher(host, port, options.connect_timeout, None)
        self._out = out
        self._err = err
        self._pause = pause

    def line(self, text: str) -> None:
        """Write a line of output, at once: somebody may be looking on."""
        if self._out.isatty():
            text = text.translate(_CONTROLS)
        self._out.write(text + "\n")
        self._out.flush()

    def value(self, raw: Raw) -> None:
        """Write a JSON value: laid out for people, on one line for programs."""
        self.line(indented(raw) if self._out.isatty() else raw.decode("utf-8"))

    def message(self, text: str) -> None:
        """Write a message to standard error."""
        _complain(self._err, text)

    def ended(self, job_id: JobId, answer: Answer) -> int:
        """Tell how a job ended; return the exit code for it."""
        if self.options.json:
            if isinstance(answer, NotEnded):
                ending = {"no_result": TRUE}
            else:
                assert isinstance(answer, (Returned, Raised, Failed, Cancelled))
                ending = members_of(answer)
            self.line(build({"job": encode(job_id), **ending}).decode("utf-8"))
        elif isinstance(answer, Returned):
            self.value(answer.value)
        elif isinstance(answer, NotEnded):
            self.message(f"job {job_id} has not ended")
        elif isinstance(answer, Cancelled):
            self.message(f"job {job_id} was cancelled")
        else:
            self.message(str(refusal(answer)))
        if isinstance(answer, NotEnded):
            return NOT_ENDED
        return DONE if isinstance(answer, Returned) else FAILED

    def follow(self, request: FollowStream) -> int:
        """Write a job's records until it ends, then how it ended."""
        with self.dispatcher.begin(checked(request), fresh=True) as asked:
            answer = asked.next_answer()
            while isinstance(answer, Record):
                if self.options.json:
                    self.line(encode_record(answer).decode("utf-8").rstrip("\n"))
                else:
                    self.line(answer.data.decode("utf-8"))
                answer = asked.next_answer()
        assert answer is not None
        if answer == Returned(NULL) and not self.options.json:
            # A procedure that only streams has nothing more to say.
            return DONE
        return self.ended(request.job_id, answer)

    def wait(self, job_id: JobId) -> int:
        """Wait for a job's end and tell it."""
        return self.ended(job_id, self.dispatcher.ask(GetResult(job_id)))

    def attend(self, job_id: JobId, look: Callable[[], int]) -> int:
        """Look on while the job runs; ^C ends the looking, and only a second one the job."""
        with suppress(KeyboardInterrupt):
            return look()
        try:
            self.message(f"job {job_id} goes on; ^C again within 2 seconds cancels it")
            self._pause(_SECOND_THOUGHT_SECONDS)
        except KeyboardInterrupt:
            if self.dispatcher.ask(Cancel(job_id)) == CancelOutcome(True):
                self.message(f"job {job_id} cancelled")
            else:
                self.message(f"job {job_id} had ended already")
        return INTERRUPTED


def _call(terminal: _Terminal) -> int:
    options = terminal.options
    queue = None
    if options.queue is not None:
        queue = QueueSpec(options.queue, options.concurrency or 1)
    elif options.concurrency is not None:
        raise HarpException("--concurrency means nothing without --queue")
    call = Call(
        options.host,
        options.procedure,
        _arguments(options.args),
        options.timeout,
        options.max_exec_time,
        queue,
        options.info,
    )
    answer = terminal.dispatcher.ask(checked(call))
    if not isinstance(answer, Submitted):
        raise refusal(answer)
    job_id = answer.job_id
    if options.no_wait:
        job = build({"job": encode(job_id)}).decode("utf-8")
        terminal.line(job if options.json else job_id)
        return DONE

    def look() -> int:
        terminal.message(f"job {job_id}")
        if options.follow:
            return terminal.follow(FollowStream(job_id, since=0))
        return terminal.wait(job_id)

    return terminal.attend(job_id, look)


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


def _result(terminal: _Terminal) -> int:
    job_id = JobId(terminal.options.job_id)
    if terminal.options.wait:
        return terminal.attend(job_id, lambda: terminal.wait(job_id))
    return terminal.ended(job_id, terminal.dispatcher.ask(GetResult(job_id, wait=False)))


def _follow(terminal: _Terminal) -> int:
    options = terminal.options
    job_id = JobId(options.job_id)
    since = 0 if options.since is None and options.recent is None else options.since
    request = FollowStream(job_id, since, options.recent)
    return terminal.attend(job_id, lambda: terminal.follow(request))


def _status(terminal: _Terminal) -> int:
    job_id = JobId(terminal.options.job_id)
    status = terminal.dispatcher.ask(GetStatus(job_id))
    if not isinstance(status, JobStatus):
        raise refusal(status)
    if terminal.options.json:
        terminal.line(encode_status(status).decode("utf-8").rstrip("\n"))
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


def _cancel(terminal: _Terminal) -> int:
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


_COMMANDS: dict[str, Callable[[_Terminal], int]] = {
    "call": _call,
    "result": _result,
    "follow": _follow,
    "status": _status,
    "cancel": _cancel,
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
        environ: Where ``HARPCALLER`` may be set.
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
        _complain(err, str(error))
        return FAILED if isinstance(error, RemoteError) else NOT_ASKED
    except OSError as error:
        _stop_writing(out)
        _complain(err, f"cannot write: {error.strerror}")
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
    terminal = _Terminal(options, out, err, pause)
    try:
        return _COMMANDS[options.command](terminal)
    finally:
        terminal.dispatcher.close()


def _complain(err: TextIO, text: str) -> None:
    # Some of it may come from afar.
    err.write(f"harp: {text.translate(_CONTROLS)}\n")
    err.flush()


def _stop_writing(out: TextIO) -> None:
    """Let what is still buffered go nowhere, or Python complains of it at its end."""
    try:
        descriptor = out.fileno()
    except OSError:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
