"""What every job store does; ``test_contract`` runs it on each provider."""

from __future__ import annotations

from zope.interface.verify import verifyObject

from harpcaller.errors import InvalidJobId, StorageError
from harpcaller.interfaces import IJobStore, LeftOver, Page, Pruned, Resumable, Started, Submitted
from harpcaller.wire.client import JobId, QueueSpec
from harpcaller.wire.client_answers import JobStatus
from harpcaller.wire.ending import Cancelled, Ending, Failed, Raised
from harpcaller.wire.values import Raw
from tests.store.jobs import DONE, StoreCase, call, ended, job, record


class ContractMixin(StoreCase):
    """The promises of IJobStore; ``make`` gives a store that begins empty."""

    def make(self) -> object:
        raise NotImplementedError

    def setUp(self) -> None:
        super().setUp()
        self.store = self.make()
        self.assertEqual([], list(self.open()))
        self.addCleanup(self.close)

    def test_interface(self) -> None:
        """It has every method of the interface, with the right arguments."""
        verifyObject(IJobStore, self.store)

    def test_call_comes_back(self) -> None:
        """A job's call is read back as it was, queue, limits and odd spacing included."""
        queue = QueueSpec(Raw(b'{"a" : 1.0}'), 7)
        told = call(arguments=b'{"x":[1e5, 0.10]}', queue=queue)
        job_id = self.submit(1, of=told)
        self.assertEqual(told, self.finish(self.store.call(job_id)))

    def test_status_of_waiting_job(self) -> None:
        """A job that waits has only the time of its submission."""
        job_id = self.submit(1, at=12.25)
        expected = JobStatus(
            "web01", "some.procedure", Raw(b"[1, 2.50]"), 12.25, None, None, Raw(b'{"by":"test"}')
        )
        self.assertEqual(expected, self.finish(self.store.status(job_id)))

    def test_status_follows_life(self) -> None:
        """The status says running after the start, and ended after the end."""
        job_id = self.submit(1, of=call(queue=QueueSpec(Raw(b'{"q":1}'))))
        self.finish(self.store.add(job_id, Started(11.5)))
        status = self.finish(self.store.status(job_id))
        self.assertEqual(("running", 11.5), (status.state, status.started_at))
        self.finish(self.store.add(job_id, ended(13.5)))
        status = self.finish(self.store.status(job_id))
        self.assertEqual(("ended", 11.5, 13.5), (status.state, status.started_at, status.ended_at))
        self.assertEqual(b'{"q":1}', status.queue_name)

    def test_endings_come_back(self) -> None:
        """However a job ends, the same ending is read back."""
        endings: list[Ending] = [
            DONE,
            Raised("ValueError", "käse", Raw(b'{"class":"ValueError"}')),
            Failed("timeout", "nothing heard"),
            Cancelled(),
        ]
        for number, ending in enumerate(endings):
            job_id = self.submit(number)
            self.assertIsNone(self.finish(self.store.ending(job_id)))
            self.finish(self.store.add(job_id, ended(ending=ending)))
            self.assertEqual(ending, self.finish(self.store.ending(job_id)))

    def test_cancelled_while_waiting(self) -> None:
        """A job that ends without a start has none in its status."""
        job_id = self.submit(1)
        self.finish(self.store.add(job_id, ended(20.0, Cancelled())))
        status = self.finish(self.store.status(job_id))
        self.assertEqual((None, 20.0), (status.started_at, status.ended_at))
        self.assertEqual(Page((), Cancelled()), self.finish(self.store.read(job_id, 0)))

    def test_unknown_job(self) -> None:
        """Asking about a job that isn't there says so, whatever is asked."""
        asking = (
            self.store.call(job(9)),
            self.store.status(job(9)),
            self.store.ending(job(9)),
            self.store.count(job(9)),
            self.store.read(job(9), 0),
        )
        for asked in asking:
            self.failureResultOf(asked, InvalidJobId)

    def test_no_job_id(self) -> None:
        """What isn't a job id is no job, and never becomes a path."""
        odd = ("", "x", "../../etc/passwd", job(1).upper(), "8ec71d6b-28d1-1ce2-aa23-f3ea7887beda")
        for text in odd:
            self.failureResultOf(self.store.status(JobId(text)), InvalidJobId)
            self.failureResultOf(self.store.add(JobId(text), Submitted(call(), 1.0)), InvalidJobId)

    def test_records_in_order(self) -> None:
        """Records are read from any number on, with their times."""
        job_id = self.submit(1)
        self.finish(self.store.add(job_id, Started(11.0)))
        records = [record(number, ["r", number]).record for number in range(20)]
        for number in range(20):
            self.finish(self.store.add(job_id, record(number, ["r", number])))
        self.assertEqual(20, self.finish(self.store.count(job_id)))
        for since in range(21):
            page = self.finish(self.store.read(job_id, since))
            self.assertEqual(Page(tuple(records[since:]), None), page)
        self.assertEqual(Page((), None), self.finish(self.store.read(job_id, 99)))

    def test_last_page_has_ending(self) -> None:
        """The page with the last record tells the ending too; so does one after it."""
        job_id = self.run_job(1, records=3)
        page = self.finish(self.store.read(job_id, 1))
        self.assertEqual(([1, 2], DONE), ([r.number for r in page.records], page.ending))
        for since in (3, 4, 1000):
            self.assertEqual(Page((), DONE), self.finish(self.store.read(job_id, since)))
        self.assertEqual(3, self.finish(self.store.count(job_id)))

    def test_pages_are_bounded(self) -> None:
        """A page has at most 128 records, and nothing is missing between pages."""
        job_id = self.run_job(1, records=450)
        page = self.finish(self.store.read(job_id, 0))
        self.assertEqual((128, None), (len(page.records), page.ending))
        self.assertEqual(list(range(450)), [record.number for record in self.all_records(job_id)])

    def test_big_record_has_page_of_its_own(self) -> None:
        """A record larger than a page is still read, alone."""
        job_id = self.submit(1)
        big = "x" * 300_000
        for number, data in enumerate(["a", big, "b", big, big]):
            self.finish(self.store.add(job_id, record(number, data)))
        self.finish(self.store.add(job_id, ended()))
        pages = []
        since = 0
        while True:
            page = self.finish(self.store.read(job_id, since))
            pages.append([one.number for one in page.records])
            since += len(page.records)
            if page.ending is not None:
                break
        self.assertEqual([[0], [1], [2], [3], [4]], pages)

    def test_list_in_order_of_submission(self) -> None:
        """Lists go by the order of submission, whatever the clock said."""
        for number, at in enumerate([50.0, 10.0, 30.0]):
            self.submit(number, at=at)
        self.finish(self.store.add(job(1), Started(60.0)))
        self.finish(self.store.add(job(0), ended(70.0)))
        found = self.listing(page=2)
        self.assertEqual([job(0), job(1), job(2)], [one.job_id for one in found])
        self.assertEqual(["ended", "running", "queued"], [one.status.state for one in found])
        for one in found:
            self.assertEqual(self.finish(self.store.status(one.job_id)), one.status)

    def test_list_shows_big_calls(self) -> None:
        """A call with long arguments is listed whole."""
        told = call(arguments=b'["%s"]' % (b"y" * 5000))
        self.submit(1, of=told)
        self.assertEqual(told.arguments, self.listing()[0].status.arguments)

    def test_empty_list(self) -> None:
        """A list of nothing ends at once, at the position where it began."""
        self.assertEqual(([], 0), self.finish(self.store.jobs(0, 10)))
        self.assertEqual(([], 7), self.finish(self.store.jobs(7, 10)))

    def test_prune_by_end(self) -> None:
        """Jobs that ended before the time are gone; others, and those that live, are left."""
        self.run_job(1, end=100.0)
        self.run_job(2, end=200.0)
        self.submit(3, at=1.0)
        self.assertEqual(Pruned(1, 0), self.finish(self.store.prune(200.0)))
        self.failureResultOf(self.store.status(job(1)), InvalidJobId)
        self.assertEqual([job(2), job(3)], [one.job_id for one in self.listing()])
        self.assertEqual(Pruned(0, 0), self.finish(self.store.prune(200.0)))

    def test_left_over_after_reopening(self) -> None:
        """What had not ended is told at the next opening, oldest first; the rest is still read."""
        self.run_job(1, records=2)
        queue = QueueSpec(Raw(b'{"q":1}'), 3)
        self.submit(2, at=50.0, of=call(queue=queue))
        self.submit(3, at=40.0)
        self.finish(self.store.add(job(3), Started(41.0)))
        self.finish(self.store.add(job(3), record(0)))
        self.submit(5)
        self.finish(self.store.add(job(5), Started(11.0)))
        self.finish(self.store.add(job(5), Resumable(12.0)))
        self.close()
        self.assertEqual(
            [
                LeftOver(job(2), call(queue=queue), 50.0, None, 0),
                LeftOver(job(3), call(), 40.0, 41.0, 1),
                LeftOver(job(5), call(), 10.0, 11.0, 0, resumable=True),
            ],
            list(self.open()),
        )
        self.assertEqual(2, self.finish(self.store.count(job(1))))
        self.finish(self.store.add(job(3), record(1)))
        self.finish(self.store.add(job(3), ended()))
        self.submit(4)
        self.finish(self.store.add(job(5), record(0)))
        self.assertEqual([0], [one.number for one in self.all_records(job(5))])
        self.assertEqual([job(n) for n in (1, 2, 3, 5, 4)], [one.job_id for one in self.listing()])
        self.assertEqual([0, 1], [one.number for one in self.all_records(job(3))])

    def test_facts_out_of_place_are_bugs(self) -> None:
        """A fact that can't come next is refused, and changes nothing."""
        self.failureResultOf(self.store.add(job(1), Started(1.0)), ValueError)
        self.submit(1)
        self.failureResultOf(self.store.add(job(1), Submitted(call(), 1.0)), ValueError)
        self.failureResultOf(self.store.add(job(1), record(1)), ValueError)
        self.failureResultOf(self.store.add(job(1), Resumable(1.0)), ValueError)
        self.finish(self.store.add(job(1), record(0)))
        self.failureResultOf(self.store.add(job(1), Started(1.0)), ValueError)
        self.failureResultOf(self.store.add(job(1), record(0)), ValueError)
        self.finish(self.store.add(job(1), ended()))
        self.failureResultOf(self.store.add(job(1), ended()), ValueError)
        self.failureResultOf(self.store.add(job(1), record(1)), ValueError)
        self.failureResultOf(self.store.add(job(1), Submitted(call(), 1.0)), ValueError)
        self.assertEqual(1, self.finish(self.store.count(job(1))))

    def test_record_without_time_is_a_bug(self) -> None:
        """A record that doesn't tell its time isn't stored."""
        self.submit(1)
        timeless = record(0)
        timeless = type(timeless)(type(timeless.record)(0, timeless.record.data, None))
        self.failureResultOf(self.store.add(job(1), timeless), ValueError)
        self.assertEqual(0, self.finish(self.store.count(job(1))))

    def test_closed_store_refuses(self) -> None:
        """A store that is closed takes nothing and tells nothing; closing it again is fine."""
        job_id = self.submit(1)
        self.close()
        self.close()
        for refused in (
            self.store.add(job_id, Started(1.0)),
            self.store.status(job_id),
            self.store.jobs(0, 1),
            self.store.prune(1.0),
        ):
            self.failureResultOf(refused, StorageError)
        self.open()
