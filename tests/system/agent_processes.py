"""A template process and its calls, for system tests of them."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from harpcaller.agent.call_process import AgentReactor, CallProcess
from harpcaller.agent.orders import Load
from harpcaller.agent.seams import Wanted
from harpcaller.agent.template_process import TemplateProcess
from harpcaller.logs.events import EventLog
from harpcaller.wire.agent import Said, decode_message
from harpcaller.wire.ending import Ending, Returned
from harpcaller.wire.values import decode, encode

reactor = cast(AgentReactor, installed)


class Events:
    """What is heard of a call."""

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.ending: Ending | None = None
        self.over: Deferred[str] = Deferred()
        self._first: Deferred[None] = Deferred()
        self.bytes = 0

    def said(self, lines: bytes) -> None:
        self.bytes += len(lines)
        for line in lines.splitlines():
            message = decode_message(line)
            assert isinstance(message, Said)
            if len(self.records) < 1000:
                self.records.append(decode(message.data))
        if not self._first.called:
            self._first.callback(None)

    def answered(self, line: bytes) -> None:
        assert self.ending is None
        self.ending = cast(Ending, decode_message(line))

    def exited(self, how: str) -> None:
        self.over.callback(how)

    def first_record(self) -> Deferred[None]:
        return self._first


def is_running(pid: int) -> bool:
    """Tell whether there is such a process that isn't a zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def children_of(pid: int) -> list[int]:
    """Tell a process's children."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def helper_of(pid: int, module: str) -> int:
    """Find the child of an agent that runs this module."""

    def command(child: int) -> list[str]:
        return Path(f"/proc/{child}/cmdline").read_text().split("\0")

    (found,) = [child for child in children_of(pid) if module in command(child)]
    return found


class ProcessCase(TestCase):
    timeout = 120
    procedures = ""
    cgroups = True

    def setUp(self) -> None:
        self.file = Path(self.mktemp()).absolute()
        self.file.write_text(self.procedures)
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.deaths = 0
        self.template = self.new_template()
        self.calls: list[tuple[CallProcess, Events]] = []
        self.addCleanup(self.end_all)

    def new_template(self) -> TemplateProcess:
        environment = {**os.environ, "LANG": "C.UTF-8"}
        return TemplateProcess(reactor, environment, EventLog("agent"), self.died)

    def died(self) -> None:
        self.deaths += 1

    async def load(self, order: Load | None = None) -> None:
        order = order or Load(str(self.file))
        await self.template.load(dataclasses.replace(order, cgroups=self.cgroups))

    async def end_all(self) -> None:
        for process, events in self.calls:
            if not events.over.called:
                process.end(signal.SIGKILL, 0.0)
                await events.over
        self.template.retire()
        await self.template.gone()

    def begin(
        self, name: str, arguments: object = (), *, go: bool = True
    ) -> tuple[CallProcess, Events]:
        events = Events()
        wanted = Wanted(len(self.calls) + 1, name, encode(arguments), "tester", "192.0.2.1")
        process = self.template.begin(wanted, events)
        if go:
            process.go()
        self.calls.append((process, events))
        return process, events

    def hang_up(self) -> None:
        """Close our end of the template's socket, as if the agent were gone."""
        assert self.template._control is not None
        self.template._control.close()

    async def forked(self) -> int:
        """Wait until there is the process of the only call, or its keeper."""
        template = self.template._transport.pid
        assert template is not None
        while not (children := children_of(template)):
            await deferLater(reactor, 0.01)
        (child,) = children
        return child

    async def ending_of(self, name: str, arguments: object = ()) -> Ending | None:
        _, events = self.begin(name, arguments)
        self.how = await events.over
        return events.ending

    async def value_of(self, name: str, arguments: object = ()) -> Any:
        ending = await self.ending_of(name, arguments)
        self.assertIsInstance(ending, Returned)
        assert isinstance(ending, Returned)
        return decode(ending.value)

    def logged(self, kind: str) -> list[str]:
        return [event["context"]["line"] for event in self.events if event.get("kind") == kind]

    async def until_gone(self, *pids: int) -> None:
        """Wait until none of these runs; the test's time is the limit."""
        while any(map(is_running, pids)):
            await deferLater(reactor, 0.02)
