"""What only the face of an event loop has: ways to read streams, and loops that come and go."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

import harp.aio
from harpcaller.client.deferred import HarpCaller, RecordIterator
from tests.client.fake_dispatcher import FakeDispatcher, Jobs, Script, line


class LoopsTests(SynchronousTestCase):
    """``harp.aio`` and its loops."""

    def serve(self, script: Script) -> harp.aio.HarpCaller:
        """Start a fake and make a client for it."""
        self.fake = FakeDispatcher(script)
        self.addCleanup(self.fake.stop)
        return harp.aio.HarpCaller("127.0.0.1", self.fake.port, read_timeout=10)

    def test_one_object_in_many_loops(self) -> None:
        """Connections of a loop that is gone aren't used in another, and nothing breaks."""
        rpc = self.serve(Jobs())

        async def echo(i: int) -> Any:
            job = await rpc.web01.echo(i)
            return await job.get()

        with warnings.catch_warnings():
            # Python finds the sockets that were left open, rightly.
            warnings.simplefilter("ignore", ResourceWarning)
            self.assertEqual([[0], [1], [2]], [asyncio.run(echo(i)) for i in range(3)])
            asyncio.run(rpc.__aexit__(None, None, None))
            gc.collect()
        self.assertEqual(3, self.fake.connections)

    def test_one_object_in_two_loops_at_once(self) -> None:
        """Each loop has answers of its own, whichever thread it runs in."""
        rpc = self.serve(Jobs())
        found: list[bool] = []

        async def work(i: int) -> None:
            for n in range(20):
                job = await rpc.web01.echo(i, n)
                found.append(await job.get() == [i, n])
            await rpc.__aexit__(None, None, None)
            await asyncio.sleep(0.05)

        threads = [threading.Thread(target=asyncio.run, args=[work(i)]) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        self.assertEqual([True] * 60, found)

    def test_stream_that_is_let_go(self) -> None:
        """Its connection is closed; ``async with`` asks for a stream at once, and ends it."""
        rpc = self.serve(Jobs())

        async def work() -> None:
            async with rpc:
                job = await rpc.web01.hang()
                async with job.follow() as records:
                    while "follow_stream" not in self.fake.requests[-1]:
                        await asyncio.sleep(0.01)
                self.assertEqual([], await records.all())
                async for record in (await rpc.web01.count(3)).follow(since=0):
                    self.assertEqual({"i": 0}, record)
                    break
                self.assertTrue(await job.cancel())

        asyncio.run(work(), debug=True)

    def test_reader_that_is_slow(self) -> None:
        """The dispatcher is made to wait, and all of the stream arrives."""
        sent: list[int] = []

        def flood(_: object) -> Any:
            for number in range(400):
                yield line(packet=number, data="x" * 100_000)
                sent.append(number)
            yield line(result=None)

        rpc = self.serve(flood)

        async def work() -> int:
            async with rpc.job("j").follow() as records:
                await asyncio.sleep(0.5)
                self.assertTrue(len(sent) < 300, len(sent))
                return len(await records.all())

        self.assertEqual(400, asyncio.run(work()))


class TwistedStreamsTests(TestCase):
    """The streams of ``harpcaller.client.deferred``."""

    def setUp(self) -> None:
        self.fake = FakeDispatcher(Jobs())
        self.rpc = HarpCaller(reactor, "127.0.0.1", self.fake.port, read_timeout=10)
        self.addCleanup(self.fake.stop)
        self.addCleanup(self.rpc.close)

    async def count(self, n: int) -> RecordIterator:
        """Have n records to be read."""
        job = await self.rpc.web01.count(n)
        return job.follow(since=0)

    async def test_each(self) -> None:
        """A function gets every record, and the next when it is done with the one before."""
        found: list[Any] = []

        def take(record: Any) -> Deferred[None]:
            found.append(record)
            return deferLater(reactor, 0.01, found.append, "done")

        await (await self.count(2)).each(take)
        self.assertEqual([{"i": 0}, "done", {"i": 1}, "done"], found)
        await (await self.count(1)).each(found.append)
        self.assertEqual({"i": 0}, found[-1])

    async def test_each_ends_with_the_function(self) -> None:
        """What the function raises ends the reading."""
        records = await self.count(3)

        def take(record: Any) -> None:
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            await records.each(take)
        self.assertEqual([], await records.all())

    async def test_contexts(self) -> None:
        """Both a caller and a stream may be entered, and close what they have at the end."""
        async with HarpCaller(reactor, "127.0.0.1", self.fake.port) as rpc:
            job = await rpc.web01.count(3)
            async with job.follow(since=0) as records:
                async for record in records:
                    self.assertEqual({"i": 0}, record)
                    break
            self.assertEqual([], await records.all())
        self.assertEqual(0, len(rpc._connections.kept))
