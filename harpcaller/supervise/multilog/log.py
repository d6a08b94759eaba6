"""A whole script, fed with bytes.  It never sleeps, so that an event loop can use it.

After each call look at :attr:`Log.busy`.  As long as it is true, don't feed more (that is what
holds back a service that writes faster than the disk takes), and

* if :attr:`Log.retry_at` is a time, call :meth:`Log.retry` then, or earlier;
* if :attr:`Log.processor` is a pid, call :meth:`Log.processor_ended` when it has ended.

Syncing a file at its rotation is the one thing here that takes as long as the disk takes.  A log
keeps less than 1000 bytes between calls, and while it is busy what it was fed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress

from harpcaller.supervise.messages import say
from harpcaller.supervise.multilog.directory import LogDirectory
from harpcaller.supervise.multilog.lines import Begun, Cutter, More, Piece, Whole
from harpcaller.supervise.multilog.processor import StartProcessor
from harpcaller.supervise.multilog.script import Append, Deselect, Keep, Script, Select, Show
from harpcaller.supervise.multilog.selector import Selection
from harpcaller.supervise.multilog.sinks import Appended, Shown, Sink, StatusFile
from harpcaller.supervise.multilog.steps import PAUSE_SECONDS, Running, Steps, write_all
from harpcaller.supervise.tai64n.labels import Stamper


def to_standard_error(data: bytes) -> None:
    """Show lines to whoever looks; nobody need."""
    with suppress(OSError):
        write_all(2, data)


def warn(message: str) -> None:
    """Say a warning in multilog's name on standard error."""
    say(f"multilog: warning: {message}")


class Log:
    """What a script makes of what it is fed.

    Args:
        script: The script.
        at: The directory, as a descriptor, that relative paths begin at.
        clock: Gives Unix time in nanoseconds.
        monotonic: Gives the time that :attr:`retry_at` is in, in seconds.
        start: Starts a processor.
        warn: Is told of trouble, as ``unable to ..., pausing: REASON``.
        show: Gets what ``e`` shows.
    """

    def __init__(
        self,
        script: Script,
        *,
        at: int,
        clock: Callable[[], int],
        monotonic: Callable[[], float],
        start: StartProcessor,
        warn: Callable[[str], None] = warn,
        show: Callable[[bytes], None] = to_standard_error,
    ) -> None:
        self._at = at
        self._clock = clock
        self._monotonic = monotonic
        self._warn = warn
        self._stamper = Stamper() if script.stamped else None
        self._cutter = Cutter()
        self._work: deque[Steps[None]] = deque()
        self._directories: list[LogDirectory] = []
        self._status_files: list[StatusFile] = []
        self._sinks: list[tuple[Selection, Sink]] = []
        #: Those that get the line that was begun last.
        self._begun: list[Sink] = []
        #: When to call :meth:`retry`, or None.
        self.retry_at: float | None = None
        #: The pid of the processor that is waited for, or None.
        self.processor: int | None = None
        patterns: list[Select | Deselect] = []
        for action in script.actions:
            if isinstance(action, Select | Deselect):
                patterns.append(action)
            else:
                self._sinks.append((Selection(patterns), self._sink(action, show, start)))
        # Where two actions write to one place, it matters that each line goes to both in turn.
        self._line_by_line = sum(isinstance(action, Show) for action in script.actions) > 1

    def _sink(
        self, action: Show | Keep | Append, show: Callable[[bytes], None], start: StartProcessor
    ) -> Sink:
        match action:
            case Show():
                return Shown(show)
            case Keep(path):
                self._status_files.append(StatusFile(path))
                return self._status_files[-1]
            case Append():
                self._directories.append(LogDirectory(action, self._clock, start))
                return Appended(self._directories[-1])

    @property
    def busy(self) -> bool:
        """It still has to do with what it was given; don't feed more."""
        return bool(self._work)

    @property
    def unfinished(self) -> bool:
        """The last line has no newline yet."""
        return self._cutter.unfinished

    def open(self) -> None:
        """Make the status files, and take the directories over.

        Raises:
            Ended: One of them can't be had; all are let go of.  Later calls raise that, too, if
                there was a pause before.
        """
        self._do(self._opened())

    def feed(self, data: bytes) -> None:
        """Take bytes, which may begin and end anywhere in a line."""
        if self._stamper is not None:
            data = self._stamper.stamped(data, self._clock())
        self._do(self._taken(self._cutter.cut(data)))

    def rotate(self) -> None:
        """Rotate each directory that has something in ``current``."""
        for directory in self._directories:
            self._do(directory.rotate())

    def end(self) -> None:
        """Take it that nothing more comes: end the last line, close everything cleanly."""
        self._do(self._taken(self._cutter.end()))
        for _, sink in self._sinks:
            self._do(sink.end())

    def release(self) -> None:
        """Let go of everything at once, as if killed; what it is busy with is lost."""
        self._work.clear()
        self.retry_at = self.processor = None
        for _, sink in self._sinks:
            sink.release()

    def retry(self) -> None:
        """Try again what the system has refused."""
        if self.retry_at is not None:
            self.retry_at = None
            self._go_on(None)

    def processor_ended(self, status: int) -> None:
        """Go on after the processor.

        Args:
            status: Its wait status.
        """
        self.processor = None
        self._go_on(status)

    def _opened(self) -> Steps[None]:
        # Status files first, as ever: if one of them can't be had, nothing is taken over.
        for file in self._status_files:
            yield from file.open(self._at)
        for directory in self._directories:
            yield from directory.open(self._at)

    def _taken(self, pieces: Iterator[Piece]) -> Steps[None]:
        """Give each piece to those that get it."""
        for piece in pieces:
            match piece:
                case Whole(data) if self._line_by_line:
                    for line in data[:-1].split(b"\n"):
                        yield from self._judge(line + b"\n")
                case Whole(data):
                    yield from self._judge(data)
                case Begun(data):
                    self._begun = [sink for one, sink in self._sinks if one.selects(data)]
                    for sink in self._begun:
                        yield from sink.begin(data)
                case More(data):
                    for sink in self._begun:
                        yield from sink.go_on(data)

    def _judge(self, data: bytes) -> Steps[None]:
        """Give whole lines to those that get them."""
        lines: list[bytes] | None = None
        for selection, sink in self._sinks:
            if selection.everything:
                yield from sink.take(data)
            elif not selection.nothing:
                if lines is None:
                    lines = data.split(b"\n")
                    del lines[-1]
                if chosen := selection.chosen(lines):
                    yield from sink.take(b"\n".join(chosen) + b"\n")

    def _do(self, work: Steps[None]) -> None:
        """Do this, after what is still to be done."""
        self._work.append(work)
        if len(self._work) == 1:
            self._go_on(None)

    def _go_on(self, answer: int | None) -> None:
        """Go on with what isn't done, until nothing is left or it has to wait."""
        while self._work:
            try:
                wait = self._work[0].send(answer)
            except StopIteration:
                del self._work[0]
                answer = None
            except BaseException:
                self.release()
                raise
            else:
                if isinstance(wait, Running):
                    self.processor = wait.pid
                else:
                    self._warn(wait.warning)
                    self.retry_at = self._monotonic() + PAUSE_SECONDS
                return
