"""``harp call`` of several hosts: so many at a time, a line for each as it ends.

Who is called when is :class:`~harpcaller.client.rolling.Rolling`'s business.  Calls are submitted
by the main thread, which is the one that ^C interrupts, so that every job's id is known; each
job is then waited for by a thread of its own.
"""

from __future__ import annotations

import threading
from queue import Empty, Queue
from typing import Callable, Union

from harpcaller.client.exceptions import CommunicationError, HarpException
from harpcaller.client.progress import (
    CANCELLED,
    CONTROLS_AND_NEWLINE,
    FAILED,
    NOT_STARTED,
    OK,
    RUNNING,
    bar,
    host_line,
    summary,
)
from harpcaller.client.rolling import Rolling
from harpcaller.client.selection import is_pattern, select
from harpcaller.client.terminal import (
    DONE,
    INTERRUPTED,
    SECOND_THOUGHT_SECONDS,
    Terminal,
    ending_members,
    followed,
)
from harpcaller.client.terminal import FAILED as NOT_ALL
from harpcaller.client.translation import refusal
from harpcaller.wire.client import Call, FollowStream, GetResult, JobId
from harpcaller.wire.client_answers import Answer, NotEnded, Record, Submitted
from harpcaller.wire.ending import Cancelled, Failed, Returned
from harpcaller.wire.registry import HostList, ListHosts
from harpcaller.wire.values import NULL, TRUE, Raw, build, encode

#: How many are called at once at most, with or without --batch: each takes a connection.
MOST_AT_ONCE = 500
#: How much threads may be ahead of what is shown.
_MOST_EVENTS = 1000
#: The type of error of a job whose end nobody could tell us.
_NOT_HEARD = "communication_error"

#: What a thread tells of a host: a record, or how its job ended, which is the last.
_Event = tuple[str, Union[Record, Answer]]


def registry_names(terminal: Terminal) -> tuple[str, ...]:
    """Ask which hosts there are.

    Raises:
        HarpException: That can't be had.
    """
    answer = terminal.dispatcher.ask(ListHosts())
    if not isinstance(answer, HostList):
        raise refusal(answer)
    return answer.names


def call_several(terminal: Terminal, call: Callable[[str], Call]) -> int:
    """Call all hosts that the options mean; give the exit code.

    Args:
        call: Makes the call of one host.

    Raises:
        HarpException: Which hosts these are can't be had, or the first can't be called.
    """
    wanted = terminal.options.host
    registry = registry_names(terminal) if is_pattern(wanted) else ()
    hosts = select(wanted, registry)
    if terminal.options.no_wait:
        return _submit_all(terminal, hosts, call)
    batch = min(terminal.options.batch or MOST_AT_ONCE, MOST_AT_ONCE)
    rolling = Rolling(hosts, batch, terminal.options.max_failures)
    return _Rollout(terminal, rolling, call, max(map(len, hosts))).run()


def _submit_all(terminal: Terminal, hosts: list[str], call: Callable[[str], Call]) -> int:
    """Submit all calls and print the jobs' ids."""
    code = DONE
    asked = 0
    try:
        for host in hosts:
            with terminal.held_interrupts() as held:
                answer = terminal.submit(call(host))
                asked += 1
                if isinstance(answer, Submitted):
                    job = {"host": encode(host), "job": encode(answer.job_id)}
                    as_json = build(job).decode("utf-8")
                    terminal.line(as_json if terminal.options.json else f"{host} {answer.job_id}")
                else:
                    terminal.message(f"{host}: {refusal(answer)}")
                    code = NOT_ALL
                held.let_through()
    finally:
        if asked < len(hosts):
            rest = f"{len(hosts) - asked} of {len(hosts)} hosts"
            terminal.message(f"{rest} were not called, from {hosts[asked]} on")
    return code


class _Rollout:
    """One call of several hosts, as it goes on.

    Args:
        width: Of the column of hosts.
    """

    def __init__(
        self, terminal: Terminal, rolling: Rolling, call: Callable[[str], Call], width: int
    ) -> None:
        self._terminal = terminal
        self._rolling = rolling
        self._call = call
        self._width = width
        self._jobs: dict[str, JobId] = {}
        self._events: Queue[_Event] = Queue(_MOST_EVENTS)
        self._shows_bar = terminal.lively and not terminal.options.json

    def run(self) -> int:
        """Call all, or as many as may be; ^C lets go of those that run, a second one ends them."""
        try:
            # One inside the other, so that there is no moment between them.
            try:
                self._roll()
            except KeyboardInterrupt:
                self._let_go()
                self._terminal.pause(SECOND_THOUGHT_SECONDS)
                return INTERRUPTED
        except KeyboardInterrupt:
            self._cancel_all()
            return INTERRUPTED
        self._terminal.below("")
        self._tell_not_started()
        self._terminal.message(summary(self._rolling))
        return DONE if self._rolling.all_succeeded else NOT_ALL

    def _roll(self) -> None:
        while not self._rolling.over:
            self._show_progress()
            host = self._rolling.next_host()
            if host is None:
                self._take(self._events.get())
                continue
            self._start(host)
            # What ended meanwhile is told, however many there are to start.
            while not self._events.empty():
                self._take(self._events.get())

    def _show_progress(self) -> None:
        if self._shows_bar:
            self._terminal.below(bar(self._rolling, self._terminal.columns()))

    # --- Calling -------------------------------------------------------------------------

    def _start(self, host: str) -> None:
        with self._terminal.held_interrupts() as held:
            try:
                answer = self._terminal.submit(self._call(host))
            except CommunicationError as error:
                if not (self._jobs or self._rolling.succeeded or self._rolling.failed):
                    raise
                # Nor could the others be called.
                self._rolling.stop()
                answer = Failed(_NOT_HEARD, str(error))
            if isinstance(answer, Submitted):
                self._jobs[host] = answer.job_id
                self._begin_to_watch(host, answer.job_id)
            else:
                self._ended(host, answer)
            held.let_through()

    def _begin_to_watch(self, host: str, job_id: JobId) -> None:
        watch = threading.Thread(target=self._watch, args=(host, job_id), daemon=True)
        try:
            watch.start()
        except RuntimeError:
            # The job runs all the same.
            self._ended(host, Failed(_NOT_HEARD, "the system has no thread to wait for it"))

    def _watch(self, host: str, job_id: JobId) -> None:
        """Wait for a job's end, in a thread of its own."""
        ending: Answer = Failed(_NOT_HEARD, "waiting for it failed")
        try:
            if self._terminal.options.follow:
                ending = followed(
                    self._terminal.dispatcher,
                    FollowStream(job_id, since=0),
                    lambda record: self._events.put((host, record)),
                )
            else:
                ending = self._terminal.dispatcher.ask(GetResult(job_id))
        except HarpException as error:
            ending = Failed(_NOT_HEARD, str(error))
        finally:
            self._events.put((host, ending))

    # --- Telling -------------------------------------------------------------------------

    def _take(self, event: _Event) -> None:
        host, heard = event
        if isinstance(heard, Record):
            self._said(host, heard)
        else:
            self._ended(host, heard)

    def _said(self, host: str, record: Record) -> None:
        if self._terminal.options.json:
            fields = {"packet": encode(record.number), "data": record.data}
            if record.time is not None:
                fields["time"] = encode(record.time)
            self._tell_json(host, fields)
        else:
            self._terminal.line(f"{host:<{self._width}}  {record.data.decode('utf-8')}")

    def _ended(self, host: str, ending: Answer) -> None:
        self._rolling.ended(host, succeeded=isinstance(ending, Returned))
        if self._terminal.options.json:
            self._tell_json(host, ending_members(ending))
        elif isinstance(ending, Returned):
            self._tell(host, OK, "" if ending.value == NULL else ending.value.decode("utf-8"))
        elif isinstance(ending, Cancelled):
            self._tell(host, CANCELLED)
        else:
            self._tell(host, FAILED, str(refusal(ending)))

    def _tell(self, host: str, word: str, detail: str = "") -> None:
        detail = detail.translate(CONTROLS_AND_NEWLINE)
        line = host_line(host, self._width, word, detail, coloured=self._terminal.coloured)
        self._terminal.drawn(line)

    def _tell_json(self, host: str, fields: dict[str, Raw]) -> None:
        known = {"host": encode(host)}
        if host in self._jobs:
            known["job"] = encode(self._jobs[host])
        self._terminal.line(build({**known, **fields}).decode("utf-8"))

    def _tell_not_started(self) -> None:
        for host in self._rolling.waiting:
            if self._terminal.options.json:
                self._tell_json(host, {"not_started": TRUE})
            else:
                self._tell(host, NOT_STARTED)

    # --- ^C ------------------------------------------------------------------------------

    def _let_go(self) -> None:
        """Call no more, tell what there is to tell by now, and what goes on."""
        self._rolling.stop()
        self._terminal.below("")
        try:
            while True:
                self._take(self._events.get_nowait())
        except Empty:
            pass
        for host in sorted(self._rolling.running):
            if self._terminal.options.json:
                self._tell_json(host, ending_members(NotEnded()))
            else:
                # Who presses ^C twice doesn't want to know the last one's.
                job = f"job {self._jobs[host]}" if host in self._jobs else "if it was submitted"
                self._tell(host, RUNNING, job)
        self._tell_not_started()
        self._terminal.message(summary(self._rolling))
        if self._rolling.running:
            self._terminal.message("the running jobs go on; ^C again within 2 seconds cancels them")

    def _cancel_all(self) -> None:
        """Cancel those that run.

        Raises:
            CommunicationError: Nobody knows what came of that.
        """
        for host in sorted(self._rolling.running & self._jobs.keys()):
            self._terminal.message(f"{host}: {self._terminal.cancelled(self._jobs[host])}")
