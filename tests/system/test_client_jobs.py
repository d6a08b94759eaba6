"""The library as programs use it, against a dispatcher on a real socket."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

import harp
from tests.client.fake_dispatcher import FakeDispatcher, Jobs, line


class JobsTests(SynchronousTestCase):
    """Calls, their jobs, and what became of them."""

    def setUp(self) -> None:
        self.jobs = Jobs()
        self.dispatcher = FakeDispatcher(self.jobs)
        self.addCleanup(self.dispatcher.stop)
        self.rpc = harp.HarpCaller("127.0.0.1", port=self.dispatcher.port, read_timeout=10)
        self.addCleanup(self.rpc.__exit__, None, None, None)

    def test_host_can_be_named_in_three_ways(self) -> None:
        """As an attribute, by a call, and by ``host``."""
        for host in (self.rpc.web01, self.rpc("web01"), self.rpc.host(host="web01")):
            self.assertEqual([1, "a"], host.echo(1, "a").get())
        self.assertEqual(["web01"] * 3, [r["host"] for r in self.dispatcher.requests[::2]])

    def test_named_arguments(self) -> None:
        """They arrive by name."""
        self.assertEqual({"a": 1, "b": [2]}, self.rpc.web01.echo(a=1, b=[2]).get())

    def test_mixed_arguments_go_nowhere(self) -> None:
        """Nothing is sent."""
        self.assertRaises(harp.HarpException, self.rpc.web01.echo, 1, b=2)
        self.assertEqual([], self.dispatcher.requests)

    def test_options(self) -> None:
        """They go out with the call, in the protocol's form."""
        host = self.rpc.host(
            "web01", queue={"q": 1}, concurrency=2, timeout=60, max_exec_time=300, info=["x"]
        )
        job = host["some.procedure"]("nginx")
        self.assertEqual(
            {
                "harpcaller": 1,
                "host": "web01",
                "procedure": "some.procedure",
                "arguments": ["nginx"],
                "queue": {"name": {"q": 1}, "concurrency": 2},
                "timeout": 60,
                "max_exec_time": 300,
                "info": ["x"],
            },
            self.dispatcher.requests[0],
        )
        self.assertEqual(["x"], job.info())

    def test_options_of_a_host_by_attribute(self) -> None:
        """``rpc.web01(...)`` adds to what was said before."""
        host = self.rpc.web01(queue={"q": 1}, timeout=5)(timeout=6)
        host.echo()
        request = self.dispatcher.requests[0]
        self.assertEqual(({"q": 1}, 6), (request["queue"]["name"], request["timeout"]))

    def test_job_recalled_by_its_id(self) -> None:
        """Another program, later, sees the same job."""
        job_id = self.rpc.web01.echo("x").id()
        with harp.HarpCaller("127.0.0.1", self.dispatcher.port) as other:
            self.assertEqual(["x"], other.job(job_id).get())

    def test_exception_of_the_procedure(self) -> None:
        """``get`` raises it, ``result`` returns it."""
        job = self.rpc.web01.fail()
        error = self.assertRaises(harp.RemoteException, job.get)
        self.assertEqual(("ValueError", "it failed"), (error.type, error.message))
        self.assertEqual({"class": "ValueError"}, error.data)
        returned = job.result()
        self.assertIsInstance(returned, harp.RemoteException)
        self.assertEqual(error.args, returned.args)

    def test_error_of_the_dispatcher(self) -> None:
        """Likewise, as another class."""
        job = self.rpc.nowhere.echo()
        self.assertEqual("unknown_host", self.assertRaises(harp.RemoteError, job.get).type)
        self.assertIsInstance(job.result(), harp.RemoteError)

    def test_running_and_cancelled(self) -> None:
        """Both have a mark; a wait for a cancelled job raises."""
        job = self.rpc.web01.hang()
        self.assertIs(harp.CALL_NOT_FINISHED, job.result())
        self.assertIs(harp.CALL_NOT_FINISHED, job.get(wait=False))
        self.assertIsNone(job.end_time())
        self.assertTrue(job.cancel())
        self.assertFalse(job.cancel())
        self.assertIs(harp.CALL_CANCELLED, job.result(wait=True))
        self.assertRaises(harp.CancelledException, job.get)

    def test_status(self) -> None:
        """What a job is, asked once for what can't change."""
        job = self.rpc.host("web01", info={"who": "me"}).echo("x", 2)
        del self.dispatcher.requests[:]
        found = (job.host(), job.procedure(), job.args(), job.info(), job.submit_time())
        self.assertEqual(("web01", "echo", ["x", 2], {"who": "me"}, 1455282411), found)
        self.assertEqual((1455282412, 1455282413), (job.start_time(), job.end_time()))
        self.assertIsInstance(job.submit_time(), int)
        self.assertEqual(1, len(self.dispatcher.requests))

    def test_end_time_is_asked_again_until_it_is_there(self) -> None:
        """A job that ended after the first question is seen to have ended."""
        job = self.rpc.web01.hang()
        self.assertIsNone(job.end_time())
        job.cancel()
        self.assertEqual(1455282413, job.end_time())

    def test_start_time_is_asked_again_until_it_is_there(self) -> None:
        """A job that waits in a queue has none yet; one cancelled there never gets one."""
        call = {"host": "h", "procedure": "p", "arguments": []}
        times: list[dict[str, int]] = [
            {"submit": 1},
            {"submit": 1, "start": 2},
            {"submit": 1, "end": 3},
        ]
        dispatcher = FakeDispatcher(lambda _: [line(call=call, time=times.pop(0))])
        self.addCleanup(dispatcher.stop)
        with harp.HarpCaller("127.0.0.1", dispatcher.port) as rpc:
            job = rpc.job("j")
            self.assertEqual((1, 2, 2), (job.submit_time(), job.start_time(), job.start_time()))
            job = rpc.job("k")
            self.assertEqual((1, None), (job.submit_time(), job.start_time()))
        self.assertEqual([], times)

    def test_unknown_job(self) -> None:
        """It is an error of its own for all that asks of it, and nothing to cancel."""
        job = self.rpc.job("no-such-job")
        self.assertFalse(job.cancel())
        for ask in (job.get, job.host, job.start_time, job.stream().all, job.follow().all):
            self.assertEqual("invalid_jobid", self.assertRaises(harp.RemoteError, ask).type)

    def test_follow(self) -> None:
        """Records until the end, from where it was asked; how the job ended isn't raised."""
        job = self.rpc.web01.count(3)
        self.assertEqual([{"i": 0}, {"i": 1}, {"i": 2}], list(job.follow(since=0)))
        self.assertEqual([(2, {"i": 2})], job.follow(recent=1, numbered=True).all())
        self.assertEqual([], job.follow().all())
        self.assertEqual([], self.rpc.web01.fail().follow(since=0).all())

    def test_stream(self) -> None:
        """What there is now, also of a job that goes on."""
        self.assertEqual([{"i": 0}, {"i": 1}], self.rpc.web01.count(2).stream().all())
        self.assertEqual([(1, {"i": 1})], list(self.rpc.web01.count(2).stream(1, numbered=True)))
        self.assertEqual([], self.rpc.web01.hang().stream().all())

    def test_iterator_at_its_end_stays_there(self) -> None:
        """Asked again it has nothing more."""
        records = self.rpc.web01.count(1).stream()
        self.assertEqual([{"i": 0}], list(records))
        self.assertEqual([], list(records))

    def test_since_and_recent(self) -> None:
        """Both at once is a mistake, told at once."""
        self.assertRaises(harp.HarpException, self.rpc.job("j").follow, since=1, recent=1)
        self.assertRaises(harp.HarpException, self.rpc.job("j").stream, since=-1)

    def test_private_names_are_no_hosts(self) -> None:
        """Copying, pickling and consoles look for such attributes, and must find none."""
        for owner in (self.rpc, self.rpc.web01):
            self.assertFalse(hasattr(owner, "__deepcopy__"))
            self.assertFalse(hasattr(owner, "_repr_html_"))

    def test_how_they_show_themselves(self) -> None:
        """In a log or a console one sees what is what."""
        job = self.rpc.web01.echo()
        self.assertEqual(
            [
                f"<harp.HarpCaller 127.0.0.1:{self.dispatcher.port}>",
                "<harp.RemoteServer web01>",
                "<harp.RemoteProcedure web01:echo>",
                f"<harp.RemoteCall {job.id()}>",
            ],
            [repr(self.rpc), repr(self.rpc.web01), repr(self.rpc.web01.echo), repr(job)],
        )


class RefusedTests(SynchronousTestCase):
    """Answers that are errors of the question."""

    def test_refused_requests(self) -> None:
        """A call, a cancel: the dispatcher's error is raised."""
        dispatcher = FakeDispatcher(lambda _: [line(error={"type": "shutdown", "message": "no"})])
        self.addCleanup(dispatcher.stop)
        with harp.HarpCaller("127.0.0.1", dispatcher.port) as rpc:
            for ask in (rpc.web01.echo, rpc.job("j").cancel):
                self.assertEqual("shutdown", self.assertRaises(harp.RemoteError, ask).type)
