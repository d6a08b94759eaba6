"""Where a command of ``harp`` reads its options and writes what it finds.

What the network brings is shown as the bytes that came, so that no number is changed by the
showing.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Callable, TextIO

from harpcaller.client.dispatcher import Dispatcher
from harpcaller.client.interrupts import HeldInterrupts
from harpcaller.client.progress import CONTROLS, ERASE, is_coloured, is_lively
from harpcaller.client.tls import dispatcher_context
from harpcaller.client.translation import checked, refusal
from harpcaller.wire.client import Call, Cancel, FollowStream, GetResult, JobId
from harpcaller.wire.client_answers import Answer, CancelOutcome, NotEnded, Record, encode_record
from harpcaller.wire.ending import Cancelled, Failed, Raised, Returned, members_of
from harpcaller.wire.values import NULL, TRUE, Raw, build, encode, indented

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
SECOND_THOUGHT_SECONDS = 2.0


class Terminal:
    """Standard output and error, and the dispatcher of the options."""

    def __init__(
        self,
        options: argparse.Namespace,
        out: TextIO,
        err: TextIO,
        environ: Mapping[str, str],
        pause: Callable[[float], None],
    ) -> None:
        self.options = options
        host, port = options.dispatcher
        self.dispatcher = Dispatcher(
            host,
            port,
            options.connect_timeout,
            None,
            dispatcher_context(options.ca_file, options.cert),
            options.token,
        )
        self.pause = pause
        self.coloured = is_coloured(out, environ)
        self.lively = is_lively(err, environ)
        self._out = out
        self._err = err
        self._below = ""

    # --- Writing -------------------------------------------------------------------------

    def line(self, text: str) -> None:
        """Write a line of output, at once: somebody may be looking on."""
        self.drawn(text.translate(CONTROLS) if self._out.isatty() else text)

    def drawn(self, text: str) -> None:
        """Write a line of output that may have colours in it."""
        self._erase()
        self._out.write(text + "\n")
        self._out.flush()
        self._draw()

    def value(self, raw: Raw) -> None:
        """Write a JSON value: laid out for people, on one line for programs."""
        self.line(indented(raw) if self._out.isatty() else raw.decode("utf-8"))

    def message(self, text: str) -> None:
        """Write a message to standard error."""
        self._erase()
        complain(self._err, text)
        self._draw()

    def below(self, text: str) -> None:
        """Keep a line below all that is written; an empty one takes it away."""
        self._erase()
        self._below = text
        self._draw()

    def columns(self) -> int:
        """Tell how many columns the terminal has on which messages are read."""
        try:
            return os.get_terminal_size(self._err.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def _erase(self) -> None:
        if self._below:
            self._err.write(ERASE)
            self._err.flush()

    def _draw(self) -> None:
        if self._below:
            self._err.write(self._below)
            self._err.flush()

    # --- Jobs ----------------------------------------------------------------------------

    def submit(self, call: Call) -> Answer:
        """Submit a call; to be used while ^C is held back.

        Raises:
            CommunicationError: It can't be, or nobody knows whether it was.
        """
        return self.dispatcher.ask(checked(call))

    def held_interrupts(self) -> HeldInterrupts:
        """Hold ^C back until it is known which job was submitted."""
        return HeldInterrupts(
            lambda: self.message("waiting for the job's id; ^C again gives that up")
        )

    def ended(self, job_id: JobId, answer: Answer) -> int:
        """Tell how a job ended; return the exit code for it."""
        if self.options.json:
            self.line(build({"job": encode(job_id), **ending_members(answer)}).decode("utf-8"))
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

        def show(record: Record) -> None:
            if self.options.json:
                self.line(encode_record(record).decode("utf-8").rstrip("\n"))
            else:
                self.line(record.data.decode("utf-8"))

        answer = followed(self.dispatcher, request, show)
        if answer == Returned(NULL) and not self.options.json:
            # A procedure that only streams has nothing more to say.
            return DONE
        return self.ended(request.job_id, answer)

    def wait(self, job_id: JobId) -> int:
        """Wait for a job's end and tell it."""
        return self.ended(job_id, self.dispatcher.ask(GetResult(job_id)))

    def attend(
        self, job_id: JobId, look: Callable[[], int], held: HeldInterrupts | None = None
    ) -> int:
        """Look on while the job runs; ^C ends the looking, and only a second one the job."""
        try:
            # One inside the other, so that there is no moment between them.
            try:
                if held is not None:
                    held.let_through()
                return look()
            except KeyboardInterrupt:
                self.message(f"job {job_id} goes on; ^C again within 2 seconds cancels it")
                self.pause(SECOND_THOUGHT_SECONDS)
                return INTERRUPTED
        except KeyboardInterrupt:
            self.message(self.cancelled(job_id))
            return INTERRUPTED

    def cancelled(self, job_id: JobId) -> str:
        """Cancel a job; say what came of that.

        Raises:
            CommunicationError: Nobody knows.
        """
        if self.dispatcher.ask(Cancel(job_id)) == CancelOutcome(True):
            return f"job {job_id} cancelled"
        return f"job {job_id} had ended already"


def followed(
    dispatcher: Dispatcher, request: FollowStream, show: Callable[[Record], None]
) -> Answer:
    """Show a job's records until it ends; give how it ended.

    Raises:
        CommunicationError: That can't be had.
    """
    with dispatcher.begin(checked(request), fresh=True) as asked:
        answer = asked.next_answer()
        while isinstance(answer, Record):
            show(answer)
            answer = asked.next_answer()
    assert answer is not None
    return answer


def ending_members(answer: Answer) -> dict[str, Raw]:
    """Write how a job ended, or that it has not, as the protocol does."""
    if isinstance(answer, NotEnded):
        return {"no_result": TRUE}
    assert isinstance(answer, (Returned, Raised, Failed, Cancelled))
    return members_of(answer)


def complain(err: TextIO, text: str) -> None:
    """Write a message; some of it may come from afar."""
    err.write(f"harp: {text.translate(CONTROLS)}\n")
    err.flush()
