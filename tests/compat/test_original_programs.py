"""Programs as they were written for the original library, from its documented interface.

Each is a function whose body is such a program, with ``print`` as a function and nothing else
changed; what it printed is compared.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import harp
from tests.client.fake_dispatcher import FakeDispatcher, Jobs


class OriginalProgramsTests(SynchronousTestCase):
    """They run unchanged."""

    def setUp(self) -> None:
        self.jobs = Jobs()
        self.dispatcher = FakeDispatcher(self.jobs)
        self.addCleanup(self.dispatcher.stop)
        self.printed: list[Any] = []

    def print(self, *what: Any) -> None:
        """Stand in for ``print``."""
        self.printed.append(what[0] if len(what) == 1 else what)

    def test_web_application_that_starts_a_job(self) -> None:
        """Submit with options, keep the id, leave."""
        port, print = self.dispatcher.port, self.print

        rpc = harp.HarpCaller("127.0.0.1", port)
        hostname = "web01.example.net"
        queue = {"host": hostname, "command": "foo"}
        job = rpc.host(hostname, queue=queue, concurrency=3).hang()
        print(job.id())
        print(job.submit_time())
        job = rpc.host("web01.example.net", max_exec_time=60, info={"user": 17}).echo("x")
        print(json.dumps(job.info()))

        self.assertEqual([next(iter(self.jobs.jobs)), 1455282411, '{"user": 17}'], self.printed)
        request = self.dispatcher.requests[0]
        self.assertEqual({"name": queue, "concurrency": 3}, request["queue"])

    def test_page_that_shows_a_job(self) -> None:
        """Recall a job by its id, and tell what it is and whether it still runs."""
        port, print = self.dispatcher.port, self.print
        job_id = harp.HarpCaller("127.0.0.1", port)("localhost").hang("a").id()

        rpc = harp.HarpCaller("127.0.0.1", port)
        job = rpc.job(job_id)
        print(f"job {job.host()}:{job.procedure()}(...)")
        for arg in job.args():
            print(arg)
        if job.result() is harp.CALL_NOT_FINISHED:
            print("still running since", job.start_time())
        print(job.end_time())
        job.cancel()
        if job.result(wait=True) is harp.CALL_CANCELLED:
            print("cancelled at", job.end_time())

        self.assertEqual(
            [
                "job localhost:hang(...)",
                "a",
                ("still running since", 1455282412),
                None,
                ("cancelled at", 1455282413),
            ],
            self.printed,
        )

    def test_script_that_follows_a_stream(self) -> None:
        """A configured host by attribute, its stream, its result; then a second look."""
        port, print = self.dispatcher.port, self.print

        rpc = harp.HarpCaller("127.0.0.1", port)
        host = rpc.localhost(queue={"foo": "bar"}, max_exec_time=15)
        job = host.count(2)
        for msg in job.follow(since=0):
            print(json.dumps(msg))
        print(job.result())
        for number, msg in job.stream(since=1, numbered=True):
            print(number, msg["i"])
        for msg in job.follow(recent=0):
            print("never", msg)

        self.assertEqual(['{"i": 0}', '{"i": 1}', "done", (1, 1)], self.printed)

    def test_script_that_handles_errors(self) -> None:
        """Errors are raised by ``get`` and returned by ``result``."""
        port, print = self.dispatcher.port, self.print

        rpc = harp.HarpCaller(host="127.0.0.1", port=port)
        print(rpc("localhost").echo("bar", "baz").get())
        try:
            rpc.localhost.fail().get()
        except harp.RemoteException as e:
            print(e.type, e.message)
        try:
            rpc.nowhere.echo().get()
        except harp.RemoteError as e:
            print(e.type)
        job = rpc.localhost.hang()
        job.cancel()
        try:
            job.get()
        except harp.CancelledException:
            print("cancelled")
        result = rpc.localhost.fail().result(wait=True)
        print(isinstance(result, harp.HarpException))
        try:
            harp.HarpCaller("127.0.0.1", 1).localhost.echo()
        except harp.CommunicationError:
            print("unreachable")

        self.assertEqual(
            [
                ["bar", "baz"],
                ("ValueError", "it failed"),
                "unknown_host",
                "cancelled",
                True,
                "unreachable",
            ],
            self.printed,
        )
