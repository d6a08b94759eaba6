"""What a kept call said: kept, and sent to whoever listens.

It stays in a :class:`~harpcaller.agent.spool.Spool`, since a caller can lose what the network,
or his own crash, took: at least :attr:`Feed.keep_bytes` of what was sent, and all that wasn't.
While more than that waits to be sent, the procedure is held back.
"""

from __future__ import annotations

import attrs

from harpcaller.agent.seams import ICallProcess, ILink
from harpcaller.agent.spool import Spool
from harpcaller.logs.events import EventLog
from harpcaller.wire.agent import numbered


@attrs.define(eq=False)
class Feed:
    """What was said, and how far it was sent.

    Args:
        keep_bytes: How much is kept of what was sent, and how much may wait to be sent.
        spool: What was said; None once it can't be kept.
        log: Where it is told that nothing can be kept.
        about: What the log says of the call.

    Attributes:
        process: What is held back.
        link: Who listens.
    """

    keep_bytes: int
    spool: Spool | None
    log: EventLog
    about: dict[str, object]
    process: ICallProcess | None = None
    link: ILink | None = None
    has_ended: bool = False
    _records: int = 0
    _cursor: int = 0
    _is_flowing: bool = False
    _is_held_back: bool = False

    # What is said.

    def say(self, lines: bytes) -> None:
        """Take records, which get their numbers."""
        each = lines.splitlines(keepends=True)
        first, self._records = self._records, self._records + len(each)
        self._take(b"".join(numbered(line, first + i) for i, line in enumerate(each)), len(each))

    def say_last(self, line: bytes) -> None:
        """Take the ending."""
        self.has_ended = True
        self._take(line, 0)

    def _take(self, lines: bytes, count: int) -> None:
        if self.spool is not None:
            try:
                if count:
                    self.spool.add_records(lines, count)
                else:
                    self.spool.add_line(lines)
            except OSError as error:
                self._stop_keeping(error)
            else:
                self.send()
                return
        if self.link is not None:
            # It isn't kept, but who listens now needn't mind.
            self.link.tell(lines)
            if self.has_ended:
                self.link.said_all()

    def _stop_keeping(self, error: OSError) -> None:
        assert self.spool is not None
        self.log.error("agent.spool_failed", **self.about, reason=error.strerror)
        link, is_behind = self.link, self._cursor < self.spool.end
        self.spool.close()
        self.spool = None
        if link is not None and is_behind:
            # What it would have been sent is lost; it is told by its connection, which closes.
            self.link = None
            link.drop()

    # Who listens.

    def position_of(self, record: int) -> int | None:
        """Find where a record begins; None if it isn't there."""
        try:
            return None if self.spool is None else self.spool.position_of(record)
        except OSError:
            return None

    def connect(self, link: ILink, position: int) -> None:
        """Have somebody else listen, from a position on."""
        old, self.link = self.link, link
        if old is not None:
            old.drop()
        self._cursor, self._is_flowing = position, True

    def disconnect(self) -> None:
        """Go on without anybody who listens."""
        self.link, self._is_flowing = None, False
        self._balance()

    def resume(self) -> None:
        """Send again, until told to :meth:`pause`."""
        self._is_flowing = self.link is not None
        self.send()

    def pause(self) -> None:
        """Send no more for now."""
        self._is_flowing = False
        self._balance()

    def close(self) -> None:
        """Let go of everything."""
        if self.spool is not None:
            self.spool.close()
            self.spool = None
        link, self.link = self.link, None
        if link is not None:
            link.close()

    def send(self) -> None:
        """Send what wasn't sent, as far as it is taken."""
        while self._is_flowing and self.spool is not None and self._cursor < self.spool.end:
            assert self.link is not None
            try:
                data = self.spool.read(self._cursor)
            except OSError as error:
                self._stop_keeping(error)
                return
            # Before it is sent, which may stop the flow.
            self._cursor += len(data)
            self.link.tell(data)
        if self.spool is not None:
            self.spool.forget_before(self._cursor - self.keep_bytes)
            if self.link is not None and self.has_ended and self._cursor == self.spool.end:
                self.link.said_all()
        self._balance()

    def _balance(self) -> None:
        """Hold the process back, or let it go on."""
        if self.process is None or self.has_ended:
            return
        unsent = 0 if self.spool is None else self.spool.end - self._cursor
        stop = unsent > self.keep_bytes or (self.link is not None and not self._is_flowing)
        if stop is not self._is_held_back:
            self._is_held_back = stop
            if stop:
                self.process.pauseProducing()
            else:
                self.process.resumeProducing()

    @property
    def is_lost(self) -> bool:
        """Whether nobody listens, and nobody can later because nothing is kept."""
        return self.spool is None and self.link is None

    @property
    def bytes(self) -> int:
        """How much is kept."""
        return 0 if self.spool is None else self.spool.end - self.spool.begin
