"""One service while it is supervised: its folder, its machine and its processes brought together.

The machine decides; here its wishes are carried out and the events told to it.  A process
may have one of these, or a thousand.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

from harpcaller.supervise.machine import events
from harpcaller.supervise.machine.life import STAY_DOWN, Child, State, Want
from harpcaller.supervise.machine.restarts import Ending
from harpcaller.supervise.messages import reason
from harpcaller.supervise.servicedir.control import decode_commands
from harpcaller.supervise.servicedir.detail import Detail, in_words, signal_name
from harpcaller.supervise.servicedir.folder import Folder, Unusable
from harpcaller.supervise.servicedir.settings import Settings
from harpcaller.supervise.servicedir.status import Status
from harpcaller.supervise.spawn.door import Door, Program
from harpcaller.supervise.tai64n.labels import packed
from harpcaller.supervise.tools.bodies import Body, Process
from harpcaller.supervise.tools.loop import Loop, Timer
from harpcaller.supervise.tools.needs import missing

#: How long the system may refuse a process before the next try, in seconds.  The original
#: waits for a minute, but only one service of its does.
FORK_RETRY = 5.0
#: How long after a status couldn't be written that is tried again, in seconds.
REWRITE = 5.0
#: How often it is looked whether what a service needs is there, in seconds.
_LOOK_EVERY = 1.0
#: How long the alert command may take, in seconds.
_ALERT_TIME = 60.0
#: What finish scripts get as exit code when there was a signal, as in s6.
_KILLED = 256
#: Differs from every pid: whatever comes after a death is a change, also the same number.
_NOBODY = -1


class Surroundings(NamedTuple):
    """What all services of one process share.

    Attributes:
        loop: Tells what happens.
        door: Starts programs.
        wall: Gives Unix time in nanoseconds.
        warn: Tells the administrator, without a newline.
    """

    loop: Loop
    door: Door
    wall: Callable[[], int]
    warn: Callable[[str], None]


class Supervised:
    """A service; is told by its body what becomes of that.

    Args:
        folder: Where it lives; belongs to this from now on.
        around: What it shares with others.
        siblings: A descriptor of the folder with the services that it may need.
        ended: Called when its supervision has ended.
        changed: Called when it has become something else; others may wait for it.
        body: What runs while it is up; None: its run script.

    Attributes:
        child: Its machine.
        descriptors: What its processes get as which descriptor; may be changed at any time.
    """

    def __init__(
        self,
        folder: Folder,
        around: Surroundings,
        siblings: int | None,
        ended: Callable[[], None],
        changed: Callable[[], None] = lambda: None,
        body: Body | None = None,
    ) -> None:
        self.child = Child()
        self._body = Process(folder, around.loop, around.door) if body is None else body
        self.descriptors: Mapping[int, int] = {}
        self._folder = folder
        self._around = around
        self._siblings = siblings
        self._ended = ended
        self._changed = changed
        self._settings = Settings()
        self._problems: tuple[str, ...] = ()
        self._timer: Timer | None = None
        self._retry: Timer | None = None
        self._rewrite: Timer | None = None
        self._finish_pid = 0
        self._status_pid = 0
        self._stamp = 0
        self._state = State.DOWN
        self._since = 0.0
        self._waits_for: tuple[str, ...] = ()
        self._trouble = ""
        self._said = ""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self._folder.name

    def begin(self) -> None:
        """Take the folder, and start the service if that is the normal thing.

        Raises:
            Unusable: The folder can't be taken; it was let go of.
        """
        try:
            normally_down = self._folder.is_normally_down()
            self._folder.take()
            self._since = self._around.loop.clock()
            self._stamp = self._around.wall()
            self.child.want = Want.DOWN if normally_down else Want.UP
            self._announce()
            self._folder.admit()
            self._around.loop.watch(self._folder.control, self._commanded)
        except OSError as error:
            self._let_go()
            raise Unusable(f"unable to read {self.name}/supervise/control", error) from None
        except Unusable:
            self._let_go()
            raise
        if not normally_down:
            self._tell(events.UpWanted())

    def stop(self, grace_seconds: float) -> None:
        """Take it down and end its supervision, like ``svc -dx``.

        Args:
            grace_seconds: How long it may take, and its finish script, if it doesn't say itself.
        """
        rules = self.child.rules
        if rules.kill_after_seconds is None:
            rules = rules._replace(kill_after_seconds=grace_seconds)
        if rules.finish_seconds is None:
            rules = rules._replace(finish_seconds=grace_seconds)
        self.child.rules = rules
        self._tell(events.DownWanted())
        self._tell(events.ExitWanted())

    def leave(self) -> None:
        """End its supervision as soon as it is down by itself, like ``svc -x``."""
        self._tell(events.ExitWanted())

    def kill(self) -> None:
        """Let it end at once."""
        if self.child.pid:
            self._body.send(9)
        self._kill_finish()

    def look_again(self) -> None:
        """Something has changed that it may have waited for."""
        if self.child.state is State.STARTING:
            self._try_start()

    # --- between the machine and the world --------------------------------------------------

    def _tell(self, event: events.Event) -> None:
        loop = self._around.loop
        if self.child.state is State.ENDED:
            return
        for wish in self.child.happened(event, loop.clock()):
            match wish:
                case events.Announce():
                    self._announce()
                case events.Start():
                    self._try_start()
                case events.Send(number):
                    self._body.send(number)
                case events.RunFinish(ending):
                    self._run_finish(ending)
                case events.KillFinish():
                    self._kill_finish()
                case events.RaiseAlarm():
                    self._raise_alarm()
                case events.Quit():
                    self._quit()
        self._set_timer()

    def _set_timer(self) -> None:
        due = self.child.due
        if self._timer is not None:
            if not self._timer.is_off and self._timer.at == due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self._around.loop.at(due, lambda: self._tell(events.TimeCame()))

    def _commanded(self) -> None:
        for event in decode_commands(self._folder.commands()):
            self._tell(event)
            if self.child.state is State.ENDED:
                return

    def _announce(self) -> None:
        child = self.child
        is_another = child.pid != self._status_pid
        if is_another:
            self._status_pid = child.pid
            self._stamp = self._around.wall()
        # One that is up again at once was not announced as down.
        if is_another or child.state is not self._state:
            self._state = child.state
            self._since = self._around.loop.clock()
        if child.state is not State.STARTING:
            self._waits_for = ()
        status = Status(self._stamp, child.pid, child.is_paused, child.want.value)
        if self._rewrite is not None:
            self._rewrite.cancel()
        if not self._folder.announce(status, self._detail(), self._around.warn):
            loop = self._around.loop
            self._rewrite = loop.at(loop.clock() + REWRITE, self._announce)
        self._changed()

    def _detail(self) -> Detail:
        child = self.child
        return Detail(
            stamp=packed(self._stamp).hex(),
            pid=child.pid,
            state=child.state.value,
            uptime=self._since,
            ending=child.ending,
            deaths=child.deaths.in_a_row,
            retry=child.due if child.state is State.BACKOFF else None,
            waits_for=self._waits_for,
            trouble=self._trouble,
            said=self._said,
        )

    def _quit(self) -> None:
        self._around.loop.unwatch(self._folder.control)
        self._let_go()
        self._ended()

    def _let_go(self) -> None:
        """Touch the folder no more: its descriptor will be another's."""
        for timer in (self._timer, self._retry, self._rewrite):
            if timer is not None:
                timer.cancel()
        self._folder.close()

    # --- its process ------------------------------------------------------------------------

    def _try_start(self) -> None:
        """Start the process, unless something that it needs isn't there."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        try:
            waits_for = missing(self._folder, self._siblings)
            if waits_for:
                self._wait_for(waits_for)
                return
            self._read_settings()
            pid = self._body.start(self._settings, self.descriptors, self)
        except (OSError, MemoryError) as error:
            why = reason(error) if isinstance(error, OSError) else "out of memory"
            self._trouble = f"unable to fork: {why}"
            self._around.warn(
                f"unable to fork for {self.name}, sleeping {FORK_RETRY:.0f} seconds: {why}"
            )
            self._tell(events.NotStarted(FORK_RETRY))
            return
        self._trouble = self._said = ""
        self._tell(events.Started(pid))

    def _wait_for(self, names: tuple[str, ...]) -> None:
        loop = self._around.loop
        self._retry = loop.at(loop.clock() + _LOOK_EVERY, self.look_again)
        if names != self._waits_for:
            self._waits_for = names
            self._announce()

    def _read_settings(self) -> None:
        self._settings = self._folder.settings()
        self.child.rules = self._settings.rules
        if self._settings.problems != self._problems:
            self._problems = self._settings.problems
            for problem in self._problems:
                self._around.warn(f"{self.name}/{problem}")

    def ready(self) -> None:
        """Its process says that it does its work from now on."""
        self._tell(events.SaidReady())

    def said(self, words: str) -> None:
        """Its process says something of itself."""
        self._said = words
        self._announce()

    def died(self, ending: Ending) -> None:
        """Its process has ended."""
        self._said = ""
        self._status_pid = _NOBODY
        self._tell(events.Died(ending, self._folder.has_program("finish")))

    # --- its scripts ------------------------------------------------------------------------

    def _run_script(self, name: str, *arguments: str) -> int:
        """Start one of its scripts; 0 if the system refuses."""
        name_in_messages = os.fsencode(f"{self.name}/{name}")
        program = Program(
            (b"./" + name.encode(), *map(os.fsencode, arguments)),
            folder=self._folder.fd,
            descriptors=self.descriptors,
            complaint=b"supervise: warning: unable to start " + name_in_messages,
        )
        try:
            return self._around.door.start(program)
        except (OSError, MemoryError) as error:
            why = reason(error) if isinstance(error, OSError) else "out of memory"
            self._around.warn(f"unable to fork for {self.name}/{name}: {why}")
            return 0

    def _run_finish(self, ending: Ending) -> None:
        code = _KILLED if ending.code is None else ending.code
        pid = self._run_script("finish", str(code), str(ending.signal or 0), self.name)
        if pid:
            self._finish_pid = pid
            self._around.loop.on_exit(pid, self._finished)
        else:
            # Not from inside the machine's own wishes.
            now = self._around.loop.clock()
            _ = self._around.loop.at(now, lambda: self._finished(Ending(0, None)))

    def _finished(self, ending: Ending) -> None:
        self._finish_pid = 0
        if ending.code == STAY_DOWN:
            self._trouble = "its finish script wants it to stay down"
        self._tell(events.Finished(ending))

    def _kill_finish(self) -> None:
        # One that couldn't be started has no number, and 0 would be all of our process group.
        if self._finish_pid:
            with suppress(ProcessLookupError):
                os.kill(self._finish_pid, 9)

    def _raise_alarm(self) -> None:
        loop = self._around.loop
        words = in_words(self._detail(), loop.clock())
        self._around.warn(f"{self.name}: {words}")
        if not self._folder.has_program("alert"):
            return
        ending = self.child.ending or Ending(0, None)
        how = str(ending.code) if ending.signal is None else signal_name(ending.signal)
        pid = self._run_script("alert", self.name, how, words)
        if pid:
            timer = loop.at(loop.clock() + _ALERT_TIME, lambda: os.kill(pid, 9))
            loop.on_exit(pid, lambda _ending: timer.cancel())
