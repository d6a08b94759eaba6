"""Every operation of the protocol, as a client writes it and reads the answer."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from harpcaller.errors import Shutdown, StorageError
from harpcaller.interfaces import Page, Requester
from harpcaller.testing.dispatcher import FakeDispatcher
from harpcaller.wire.client import Call, JobId, QueueSpec
from harpcaller.wire.ending import Cancelled, Ending, Failed, Raised, Returned
from harpcaller.wire.procedures import Procedure, ProcedureList
from harpcaller.wire.values import Raw
from tests.listener.world import CALL, DONE, EPOCH, NOBODY, ListenerCase, request

ENDINGS: list[tuple[Ending, dict[str, object]]] = [
    (DONE, {"result": "done"}),
    (Returned(Raw(b"null")), {"result": None}),
    (
        Raised("ValueError", "x", Raw(b'{"class":"ValueError"}')),
        {"exception": {"type": "ValueError", "message": "x", "data": {"class": "ValueError"}}},
    ),
    (Failed("timeout", "x"), {"error": {"type": "timeout", "message": "x"}}),
    (Cancelled(), {"cancelled": True}),
]


class CallTests(ListenerCase):
    def test_smallest(self) -> None:
        """Host, procedure and arguments are enough; the answer is the job's id."""
        answers = self.ask(CALL)
        (job,) = self.dispatcher.submitted
        self.assertEqual([{"harpcaller": 1, "job_id": job.job_id}], answers)
        self.assertEqual(Call("web01", "p", Raw(b"[]")), job.call)
        self.assertEqual(Requester("192.0.2.7:4711"), job.client)

    def test_with_everything(self) -> None:
        """Carried values arrive as the bytes that came, limits and queue as numbers."""
        self.ask(
            b'{"info":{"a": 1e5},"queue":{"name":{"q" :1},"concurrency":3},"max_exec_time":300,'
            b'"timeout":0.5,"arguments":{"x":[1.50]},"procedure":"q","host":"web02","harpcaller":1}\n'
        )
        expected = Call(
            "web02",
            "q",
            Raw(b'{"x":[1.50]}'),
            0.5,
            300.0,
            QueueSpec(Raw(b'{"q" :1}'), 3),
            Raw(b'{"a": 1e5}'),
        )
        self.assertEqual(expected, self.dispatcher.submitted[0].call)

    def test_refused_by_the_dispatcher(self) -> None:
        """A disk that is full, or a stop, is an error line; the connection stays."""
        client = self.client()
        for refusal in (StorageError("disk full"), Shutdown("stopping")):
            self.dispatcher.refusal = refusal
            client.send(CALL)
            self.assertEqual(
                [{"error": {"type": refusal.wire_type, "message": refusal.message}}],
                client.lines(),
            )
        self.assertFalse(client.closed)


class GetResultTests(ListenerCase):
    def test_every_kind_of_ending(self) -> None:
        """As the protocol writes it, whether it is waited for or there already."""
        for ending, answer in ENDINGS:
            job = self.job()
            client = self.client()
            client.send(request("get_result", job))
            self.assertEqual([], client.lines())
            self.dispatcher.end(job, ending)
            self.assertEqual([answer], client.lines())
            for wait in (b',"wait":true', b',"wait":false', b""):
                self.assertEqual([answer], self.ask(request("get_result", job, wait)))

    def test_without_waiting(self) -> None:
        """A job that waits or runs has no result yet."""
        job = self.job()
        self.assertEqual(
            [{"no_result": True}], self.ask(request("get_result", job, b',"wait":false'))
        )

    def test_unknown(self) -> None:
        """Of whatever shape the id is; the connection stays."""
        for job in (NOBODY, JobId("x"), JobId(""), JobId("../../etc/passwd"), JobId("\u00e4")):
            client = self.client()
            client.send(request("get_result", job) if job.isascii() else _umlaut())
            self.assertEqual("invalid_jobid", self.error(client.lines()))
            client.send(request("get_result", job, b',"wait":false') if job.isascii() else b"")
            self.assertFalse(client.closed)

    def test_unreadable(self) -> None:
        """A damaged file is this job's trouble alone."""
        job = self.job()
        self.dispatcher.damage(job)
        for operation in ("get_result", "get_status", "follow_stream", "read_stream"):
            self.assertEqual("storage_error", self.error(self.ask(request(operation, job))))


class GetStatusTests(ListenerCase):
    def test_life_of_a_job(self) -> None:
        """Times are whole seconds, with their twins in milliseconds; null is not yet."""
        (answer,) = self.ask(CALL[:-2] + b',"info":{"by": 7},"queue":{"name":{"q":1}}}\n')
        job = JobId(answer["job_id"])
        self.clock.advance(1.25)
        self.dispatcher.start(job)
        (status,) = self.ask(request("get_status", job))
        seconds = int(EPOCH)
        self.assertEqual(
            {
                "call": {"host": "web01", "procedure": "p", "arguments": []},
                "time": {"submit": seconds, "start": seconds + 1, "end": None},
                "time_ms": {
                    "submit": seconds * 1000 + 500,
                    "start": seconds * 1000 + 1750,
                    "end": None,
                },
                "info": {"by": 7},
                "queue": {"q": 1},
                "state": "running",
            },
            status,
        )
        self.dispatcher.end(job, DONE)
        (status,) = self.ask(request("get_status", job))
        self.assertEqual(("ended", seconds + 1), (status["state"], status["time"]["end"]))

    def test_cancelled_while_waiting(self) -> None:
        """Start null, end set; no queue is null, no info is null."""
        (answer,) = self.ask(CALL)
        job = JobId(answer["job_id"])
        self.ask(request("cancel", job))
        (status,) = self.ask(request("get_status", job))
        self.assertEqual(
            (None, int(EPOCH), None, None),
            (status["time"]["start"], status["time"]["end"], status["queue"], status["info"]),
        )

    def test_unknown(self) -> None:
        """Says so."""
        self.assertEqual("invalid_jobid", self.error(self.ask(request("get_status", NOBODY))))


class CancelTests(ListenerCase):
    def test_living_ended_and_unknown(self) -> None:
        """True once; after that, and for no job at all, false."""
        job = self.job()
        self.assertEqual([{"cancelled": True}], self.ask(request("cancel", job)))
        self.assertEqual([{"cancelled": False}], self.ask(request("cancel", job)))
        self.assertEqual([{"cancelled": False}], self.ask(request("cancel", NOBODY)))

    def test_followers_are_told(self) -> None:
        """With what ``get_result`` says."""
        job = self.job()
        client = self.client()
        client.send(request("follow_stream", job))
        self.ask(request("cancel", job))
        self.assertEqual([{"cancelled": True}], client.lines())


class StreamTests(ListenerCase):
    def streaming(self, count: int) -> JobId:
        job = self.job()
        for number in range(count):
            self.dispatcher.say(job, b'{"i": %d}' % number)
        return job

    def packets(self, answers: list[dict[str, object]]) -> list[object]:
        return [answer["packet"] for answer in answers if "packet" in answer]

    def test_record_line(self) -> None:
        """Number, data and the time with its fraction."""
        job = self.streaming(1)
        self.assertEqual(
            b'{"packet":0,"data":{"i": 0},"time":1455282411.5}\n{"continue":true}\n',
            self._raw(request("read_stream", job)),
        )

    def _raw(self, line: bytes) -> bytes:
        client = self.client()
        client.send(line)
        return client.text()

    def test_read(self) -> None:
        """All, from N, or the last N; then that there may be more."""
        job = self.streaming(8)
        for more, first in (
            (b"", 0),
            (b',"since":0', 0),
            (b',"since":5', 5),
            (b',"since":100', 8),
            (b',"recent":0', 8),
            (b',"recent":3', 5),
            (b',"recent":100', 0),
        ):
            answers = self.ask(request("read_stream", job, more))
            self.assertEqual(list(range(first, 8)), self.packets(answers), more)
            self.assertEqual({"continue": True}, answers[-1])

    def test_read_and_follow_ended(self) -> None:
        """The records, then the result, at once."""
        job = self.streaming(8)
        self.dispatcher.end(job, DONE)
        for operation in ("read_stream", "follow_stream"):
            for more, first in ((b',"since":0', 0), (b',"recent":2', 6), (b',"since":100', 8)):
                answers = self.ask(request(operation, job, more))
                self.assertEqual(list(range(first, 8)), self.packets(answers), more)
                self.assertEqual({"result": "done"}, answers[-1])

    def test_follow(self) -> None:
        """From now, from N or from the last N, across the seam to what is yet to come."""
        job = self.streaming(8)
        clients = {}
        for more, first in ((b"", 8), (b',"since":5', 5), (b',"recent":7', 1), (b',"since":9', 9)):
            clients[first] = self.client()
            clients[first].send(request("follow_stream", job, more))
        for number in range(8, 12):
            self.dispatcher.say(job, b"%d" % number)
        self.dispatcher.end(job, Cancelled())
        for first, client in clients.items():
            answers = client.lines()
            self.assertEqual(list(range(first, 12)), self.packets(answers))
            self.assertEqual({"cancelled": True}, answers[-1])

    def test_unknown(self) -> None:
        """Says so, however it is asked for; the connection stays."""
        client = self.client()
        for operation in ("read_stream", "follow_stream"):
            for more in (b"", b',"since":1', b',"recent":1'):
                client.send(request(operation, NOBODY, more))
                self.assertEqual("invalid_jobid", self.error(client.lines()))
        self.assertFalse(client.closed)

    def test_read_ends_however_fast_the_job_speaks(self) -> None:
        """What there is *now*: a job that speaks faster than the client reads isn't chased."""
        self.begin(dispatcher := _Chatterbox(page_size=3))
        job = self.job()
        dispatcher.chatty = job
        for _ in range(7):
            dispatcher.say(job, b"1")
        answers = self.ask(request("read_stream", job))
        self.assertEqual(list(range(9)), self.packets(answers))
        self.assertEqual({"continue": True}, answers[-1])


class _Chatterbox(FakeDispatcher):
    """A dispatcher one of whose jobs streams three records at each reading."""

    chatty: JobId | None = None
    readings = 0

    def read(self, job_id: JobId, since: int) -> Deferred[Page]:
        self.readings += 1
        if job_id == self.chatty and self.readings < 1000:
            for _ in range(3):
                self.say(job_id, b"2")
        return super().read(job_id, since)


def _umlaut() -> bytes:
    return '{"harpcaller":1,"get_result":"ä"}\n'.encode()


class RegistryTests(ListenerCase):
    def setUp(self) -> None:
        super().setUp()
        self.dispatcher.listed = {
            "web01": ProcedureList((Procedure("p", "(a)", "Do it.", True),)),
            "db01": Failed("not_supported", "x"),
        }

    def test_hosts(self) -> None:
        """Names in order, and nothing else of them."""
        answers = self.ask(b'{"harpcaller":1,"list_hosts":true}\n')
        self.assertEqual([{"hosts": ["db01", "web01"]}], answers)

    def test_procedures(self) -> None:
        """As the agent tells them; nothing becomes a job."""
        answers = self.ask(b'{"harpcaller":1,"list_procedures":"web01"}\n')
        told = {"name": "p", "signature": "(a)", "doc": "Do it.", "streaming": True}
        self.assertEqual([{"procedures": [told]}], answers)
        self.assertEqual([], self.dispatcher.submitted)

    def test_procedures_that_cannot_be_had(self) -> None:
        """An error line, and the connection stays."""
        client = self.client()
        for host, type_ in (("db01", "not_supported"), ("web99", "unknown_host")):
            client.send(b'{"harpcaller":1,"list_procedures":"%s"}\n' % host.encode())
            self.assertEqual(type_, self.error(client.lines()))
        self.assertFalse(client.closed)
