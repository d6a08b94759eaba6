"""AMP on the control socket, seen from a program that speaks it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.protocols import amp
from twisted.test.iosim import FakeTransport, IOPump, connect

from harpcaller.control.amp_face import (
    AMP_COMMANDS,
    MAX_KEYS,
    MAX_WAITING,
    OPEN_LISTS,
    PAGE_ITEMS,
    ListMore,
)
from harpcaller.control.server import ControlFactory, ControlProtocol
from harpcaller.errors import InvalidJobId, InvalidRequest
from harpcaller.interfaces import Pruned
from harpcaller.testing.dispatcher import FakeDaemon, FakeDispatcher
from harpcaller.wire import control
from harpcaller.wire.control import Command, ConfigRejected, InternalError, NotAvailable
from harpcaller.wire.values import decode
from tests.control.world import NOBODY, Client, World
from tests.house import HouseCase


def box(**fields: bytes) -> bytes:
    """Write a box as a program without Twisted would."""
    whole = amp.AmpBox({key.encode(): value for key, value in fields.items()})
    return bytes(whole.serialize())


def call(
    client: amp.AMP, command: type[amp.Command], **arguments: object
) -> Deferred[dict[str, Any]]:
    """Call, and keep an error for the test, where AMP would take it for unhandled."""
    outcome: Deferred[dict[str, Any]] = Deferred()
    _ = client.callRemote(command, **arguments).addCallbacks(outcome.callback, outcome.errback)
    return outcome


class AmpCase(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.world = World()

    def connect(self) -> tuple[amp.AMP, IOPump]:
        client = amp.AMP()
        server: ControlProtocol = ControlFactory(self.world.seams).buildProtocol(None)
        pump = connect(server, FakeTransport(server, True), client, FakeTransport(client, False))
        return client, pump

    def ask(self, command: type[Command], **arguments: object) -> Deferred[dict[str, Any]]:
        client, pump = self.connect()
        answer: Deferred[dict[str, Any]] = call(client, AMP_COMMANDS[command], **arguments)
        pump.flush()
        return answer

    def answer(self, command: type[Command], **arguments: object) -> dict[str, object]:
        return self.successResultOf(self.ask(command, **arguments))


class CommandTests(AmpCase):
    def test_every_command_has_its_own(self) -> None:
        """What is in the table can be asked by AMP."""
        self.assertEqual(set(control.COMMANDS.values()), set(AMP_COMMANDS))
        names = {command.commandName.decode() for command in AMP_COMMANDS.values()}
        self.assertEqual(set(control.COMMANDS), names)

    def test_answers_are_typed(self) -> None:
        """Numbers are numbers, and booleans booleans."""
        job = self.world.job(b"{}")
        running = {"status": "running", "pid": 4711}
        self.assertEqual(running, self.answer(control.Status))
        self.assertEqual(running, self.answer(control.Status, wait=True))
        self.assertEqual({"cancelled": True}, self.answer(control.CancelJob, job=job))
        self.assertEqual({"cancelled": 0}, self.answer(control.CancelQueue, queue=b"{}"))
        pruned = {"removed": 0, "failed": 0}
        self.assertEqual(pruned, self.answer(control.PruneJobs, max_age=1.5))
        self.assertEqual({}, self.answer(control.ReopenLogs))
        self.assertEqual({"pid": 4711}, self.answer(control.Stop))

    def test_errors_are_typed(self) -> None:
        """A program catches what it knows, not texts."""
        self.failureResultOf(self.ask(control.CancelJob, job=NOBODY), InvalidJobId)
        self.failureResultOf(self.ask(control.DistStart), NotAvailable)
        self.world.daemon.problems = ["line 1: bad", "line 2: worse"]
        failure = self.failureResultOf(self.ask(control.ReloadConfig), ConfigRejected)
        self.assertEqual("line 1: bad; line 2: worse", str(failure.value))

    def test_error_longer_than_amp_can_carry(self) -> None:
        """A page of problems is cut, and the connection stays."""
        self.world.daemon.problems = ["é" * 40000]
        failure = self.failureResultOf(self.ask(control.ReloadConfig), ConfigRejected)
        self.assertEqual("é" * 32767, str(failure.value))

    def test_bug_is_an_internal_error(self) -> None:
        """The log has what happened."""

        class Buggy(FakeDispatcher):
            def prune(self, max_age_seconds: float) -> Deferred[Pruned]:
                return fail(ZeroDivisionError())

        self.world.dispatcher = Buggy()
        self.failureResultOf(self.ask(control.PruneJobs, max_age=1.0), InternalError)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_commands_are_answered_in_order(self) -> None:
        """The second waits for the first."""
        self.world.daemon = FakeDaemon(started=False)
        client, pump = self.connect()
        first = call(client, AMP_COMMANDS[control.Status], wait=True)
        second = call(client, AMP_COMMANDS[control.ReopenLogs])
        pump.flush()
        self.assertNoResult(second)
        self.world.daemon.started()
        pump.flush()
        self.assertEqual("running", self.successResultOf(first)["status"])
        self.assertEqual({}, self.successResultOf(second))

    def test_unknown_command(self) -> None:
        """AMP's own error, and the connection stays."""

        class Unheard(amp.Command):
            pass

        client, pump = self.connect()
        unheard = call(client, Unheard)
        known = call(client, AMP_COMMANDS[control.ReopenLogs])
        pump.flush()
        self.failureResultOf(unheard, amp.UnhandledCommand)
        self.assertEqual({}, self.successResultOf(known))

    def test_starttls_is_not_spoken(self) -> None:
        """What AMP brings along by itself isn't offered."""
        client = Client(self.world)
        (answer,) = amp.parseString(client.say(box(_command=b"StartTLS", _ask=b"9")))
        self.assertEqual(b"UNHANDLED", answer[b"_error_code"])
        self.assertFalse(client.transport.disconnecting)


class ListTests(AmpCase):
    def pages(self, command: type[Command], **arguments: object) -> list[list[bytes]]:
        client, pump = self.connect()
        answer = call(client, AMP_COMMANDS[command], **arguments)
        pump.flush()
        page = self.successResultOf(answer)
        pages = [page["items"]]
        while page["cursor"]:
            answer = call(client, ListMore, cursor=page["cursor"])
            pump.flush()
            page = self.successResultOf(answer)
            pages.append(page["items"])
        return pages

    def test_short_list(self) -> None:
        """The items are what the JSON lines are."""
        ((first, second),) = self.pages(control.ListHosts)
        self.assertEqual({"hostname": "web01", "address": "10.0.0.1", "port": 4306}, decode(first))
        self.assertEqual("web02", decode(second)["hostname"])

    def test_list_in_pages(self) -> None:
        """A cursor leads from page to page, and no job is missed or told twice."""
        jobs = [self.world.job() for _ in range(PAGE_ITEMS * 2 + 1)]
        pages = self.pages(control.ListJobs, all=True, queue=True)
        self.assertEqual([PAGE_ITEMS, PAGE_ITEMS, 1], [len(page) for page in pages])
        self.assertEqual(jobs, [decode(item)["job"] for page in pages for item in page])

    def test_pages_end_where_amp_does(self) -> None:
        """Long items make small pages."""
        jobs = [self.world.job(arguments=b'["%s"]' % (b"x" * 20000)) for _ in range(7)]
        pages = self.pages(control.ListJobs)
        self.assertEqual([3, 3, 1], [len(page) for page in pages])
        self.assertEqual(jobs, [decode(item)["job"] for page in pages for item in page])

    def test_item_longer_than_amp_can_carry(self) -> None:
        """Its arguments are left out, which it says; its neighbours are whole."""
        jobs = [
            self.world.job(arguments=b"[%s]" % arguments)
            for arguments in (b"1", b'"%s"' % (b"x" * 99999), b"3")
        ]
        ((first, second, third),) = self.pages(control.ListJobs)
        self.assertEqual(jobs, [decode(item)["job"] for item in (first, second, third)])
        self.assertIsNone(decode(second)["call"]["arguments"])
        self.assertEqual(["arguments"], decode(second)["cut"])
        self.assertNotIn("cut", decode(third))

    def test_list_of_one(self) -> None:
        """A job's line, or an error."""
        job = self.world.job()
        ((item,),) = self.pages(control.JobInfo, job=job)
        self.assertEqual(job, decode(item)["job"])
        self.failureResultOf(self.ask(control.JobInfo, job=NOBODY), InvalidJobId)

    def test_lists_left_open_are_closed_for_younger_ones(self) -> None:
        """A program that never reads to the end costs no more than so many lists."""
        for _ in range(PAGE_ITEMS + 1):
            self.world.job()
        client, pump = self.connect()
        answers = [call(client, AMP_COMMANDS[control.ListJobs]) for _ in range(OPEN_LISTS + 1)]
        pump.flush()
        cursors = [self.successResultOf(answer)["cursor"] for answer in answers]
        oldest = call(client, ListMore, cursor=cursors[0])
        youngest = call(client, ListMore, cursor=cursors[-1])
        again = call(client, ListMore, cursor=cursors[-1])
        pump.flush()
        self.failureResultOf(oldest, InvalidRequest)
        self.assertEqual(1, len(self.successResultOf(youngest)["items"]))
        self.failureResultOf(again, InvalidRequest)


class BadInputTests(AmpCase):
    def refusal(self, client: Client, **fields: bytes) -> dict[bytes, bytes]:
        (answer,) = amp.parseString(client.say(box(_ask=b"1", **fields)))
        return dict(answer)

    def test_bad_arguments_are_named(self) -> None:
        """A program in another language learns what it got wrong, and may go on."""
        client = Client(self.world)
        for fields, message in (
            ({"_command": b"list_jobs", "all": b"yes"}, b"all: expected True or False"),
            ({"_command": b"list_jobs", "al": b"1"}, b"al: unknown field of list_jobs"),
            ({"_command": b"job_info"}, b"job: missing from job_info"),
            ({"_command": b"job_info", "job": b"\xff"}, b"job: 'utf-8' codec can't decode"),
            ({"_command": b"list_queue", "queue": b"q"}, b"queue: not JSON"),
            ({"_command": b"list_queue", "queue": b"[]"}, b"queue: expected an object"),
            ({"_command": b"prune_jobs", "max_age": b"nan"}, b"max_age: not JSON"),
            ({"_command": b"prune_jobs", "max_age": b"-1"}, b"max_age: expected a number"),
            ({"_command": b"list_more"}, b"cursor: no such list is open"),
        ):
            answer = self.refusal(client, **fields)
            self.assertEqual(b"invalid_request", answer[b"_error_code"])
            self.assertTrue(answer[b"_error_description"].startswith(message), answer)
        self.assertFalse(client.transport.disconnecting)

    def test_boxes_that_ask_nothing_end_the_connection(self) -> None:
        """No answer was asked of the client, and what we do for it we also answer."""
        for odd in (
            box(_answer=b"1"),
            box(_error=b"1", _error_code=b"x", _error_description=b"y"),
            box(_command=b"stop"),
            box(_ask=b"1"),
            box(_ask=b"1", _command=b"stop", _answer=b"1"),
            box(_ask=b"1", _command=b"stop", _error=b"1"),
            box(_ask=b"1", _command=b"x" * 60000),
        ):
            client = Client(self.world)
            client.say(odd)
            self.assertTrue(client.transport.disconnecting)
        self.assertEqual(0, self.world.daemon.stops)

    def test_box_without_end_is_not_kept(self) -> None:
        """Memory is bounded whatever is sent."""
        client = Client(self.world)
        many = {f"k{number}": b"x" for number in range(MAX_KEYS + 4)}
        self.assertEqual(b"", client.say(box(_command=b"stop", _ask=b"1", **many)))
        self.assertTrue(client.transport.disconnecting)
        self.assertEqual(0, self.world.daemon.stops)

    def test_many_commands_behind_a_slow_one_are_not_read(self) -> None:
        """What a client may have waiting is bounded, and it goes on when the daemon can."""
        self.world.daemon = FakeDaemon(started=False)
        client = Client(self.world)
        client.say(box(_command=b"status", _ask=b"0", wait=b"True"))
        for _ in range(MAX_WAITING):
            client.say(box(_command=b"reopen_logs", _ask=b"1"))
        self.assertTrue(client.transport.reading)
        client.say(box(_command=b"reopen_logs", _ask=b"1"))
        self.assertFalse(client.transport.reading)
        self.world.daemon.started()
        self.assertTrue(client.transport.reading)
        self.assertEqual(MAX_WAITING + 2, len(amp.parseString(client.transport.read())))

    def test_client_that_does_not_read_is_not_answered_on(self) -> None:
        """Its next command is done when it has taken the last answer."""
        client = Client(self.world, room=10)
        client.protocol.dataReceived(box(_command=b"reopen_logs", _ask=b"1") * 3)
        self.assertEqual(1, self.world.daemon.reopenings)
        client.transport.read()
        self.assertEqual(2, self.world.daemon.reopenings)


class LeavingTests(AmpCase):
    def test_half_closed_client_is_closed(self) -> None:
        """AMP has no use for half a connection."""
        client = Client(self.world)
        client.say(box(_command=b"reopen_logs", _ask=b"1"))
        client.protocol.readConnectionLost()
        self.assertTrue(client.transport.disconnecting)

    def test_waiting_for_start_up_ends_with_the_client(self) -> None:
        """Nobody is kept waiting for who is gone, and nothing more is done for it."""
        daemon = self.world.daemon = FakeDaemon(started=False)
        client = Client(self.world)
        client.say(box(_command=b"status", _ask=b"0", wait=b"True"))
        client.say(box(_command=b"stop", _ask=b"1"))
        self.assertEqual(1, len(daemon.waiting))
        client.go()
        self.assertEqual(0, len(daemon.waiting))
        self.assertEqual(0, daemon.stops)

    def test_lists_end_with_their_connection(self) -> None:
        """A list that was begun isn't kept."""
        for _ in range(PAGE_ITEMS + 1):
            self.world.job()
        client = Client(self.world)
        client.say(box(_command=b"list_jobs", _ask=b"0"))
        client.go()
        face = client.protocol._face
        self.assertEqual({}, getattr(face, "_lists", None))
