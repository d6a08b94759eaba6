"""The journal's files, and the one who writes them."""

from __future__ import annotations

import errno
import os

from harpcaller.store import segments
from harpcaller.store.layout import segment_path
from harpcaller.store.segments import SegmentWriter
from tests.house import HouseCase
from tests.store.fakes import FaultyDisk
from tests.store.filecase import read_file, write_file
from tests.store.jobs import job

LINE = b'{"start":1.0}\n'


class SegmentCase(HouseCase):
    """A test with a directory for a journal."""

    synced = True

    def setUp(self) -> None:
        super().setUp()
        self.disk = FaultyDisk()
        self.directory = self.mktemp()
        os.makedirs(f"{self.directory}/journal")
        self.writer = SegmentWriter(self.disk, self.directory, 0, synced=self.synced)
        self.addCleanup(self.end)

    def end(self) -> None:
        self.disk.recover()
        self.writer.close()

    def write(
        self, number: int, *, sync: bool = True, roll: bool = False, oldest: int = 0
    ) -> segments.Written:
        """Write an entry that can be told by its number."""
        entry = segments.entry(job(number), number, LINE)
        return self.writer.write([entry], serial=99, sync=sync, roll=roll, oldest=oldest)

    def believed(self) -> list[int]:
        """Give the numbers of the entries that a recovery would find, in order."""
        found: list[int] = []
        headers = []
        for name in sorted(os.listdir(f"{self.directory}/journal")):
            path = f"{self.directory}/journal/{name}"
            first = next(segments.entries(self.disk, path), None)
            header = None if first is None else segments.parse_header(first)
            if header is not None:
                headers.append(header)
        good = {key: length for header in headers for key, length in header.good.items()}
        for header in headers:
            path = segment_path(self.directory, header.number)
            for entry in segments.entries(self.disk, path, good.get(header.number)):
                if segments.parse_header(entry) is None:
                    found.append(entry.offset)
        return found


class FormatTests(SegmentCase):
    """What stands in a segment."""

    def test_entry(self) -> None:
        """An entry is a checksum, the job, the place and the line, readable by people."""
        written = segments.entry(job(1), 12, LINE)
        self.assertRegex(written.decode(), r'^[0-9a-f]{8} [0-9a-f-]{36} 12 {"start":1.0}\n$')

    def test_header_comes_back(self) -> None:
        """A header tells the segment's number, the next serial, and what is good elsewhere."""
        path = f"{self.directory}/x"
        write_file(path, segments.header(7, 1234, {5: 100, 6: 0}) + segments.entry("a", 1, LINE))
        first, second = segments.entries(self.disk, path)
        self.assertEqual(segments.Header(7, 1234, {5: 100, 6: 0}), segments.parse_header(first))
        self.assertIsNone(segments.parse_header(second))

    def test_strange_headers(self) -> None:
        """A header of another format, or without its fields, is none."""
        for text in (b'{"harpcaller_journal":2,"serial":1,"good":{}}', b"{}", b"[", b'{"good":1}',
                     b'{"harpcaller_journal":1,"serial":1,"good":{"x":1}}'):  # fmt: skip
            path = f"{self.directory}/x"
            write_file(path, segments.entry("segment", 1, text + b"\n"))
            (first,) = segments.entries(self.disk, path)
            self.assertIsNone(segments.parse_header(first))

    def test_every_cut_is_noticed(self) -> None:
        """Wherever the last entry is torn, the ones before it are read and nothing else."""
        path = f"{self.directory}/x"
        whole = segments.entry(job(1), 0, LINE) + segments.entry(job(2), 5, LINE)
        last = len(segments.entry(job(1), 0, LINE))
        for cut in range(last, len(whole)):
            write_file(path, whole[:cut])
            self.assertEqual([0], [one.offset for one in segments.entries(self.disk, path)])

    def test_every_flipped_byte_is_noticed(self) -> None:
        """A damaged byte ends the segment there."""
        path = f"{self.directory}/x"
        first = segments.entry(job(1), 0, LINE)
        whole = first + segments.entry(job(2), 5, LINE) + first
        for place in range(len(first), len(first) + len(segments.entry(job(2), 5, LINE))):
            damaged = bytearray(whole)
            damaged[place] ^= 1
            write_file(path, bytes(damaged))
            self.assertEqual([0], [one.offset for one in segments.entries(self.disk, path)])

    def test_only_the_good_part(self) -> None:
        """What lies behind the good length isn't believed, intact as it may be."""
        path = f"{self.directory}/x"
        first = segments.entry(job(1), 0, LINE)
        write_file(path, first * 3)
        for good, expected in ((0, 0), (len(first), 1), (2 * len(first) - 1, 1)):
            self.assertEqual(expected, len(list(segments.entries(self.disk, path, good))))

    def test_endless_line(self) -> None:
        """A file without newlines doesn't fill the memory."""
        path = f"{self.directory}/x"
        write_file(path, b"x" * 1000)
        self.assertEqual([], list(segments.entries(self.disk, path, longest=100)))

    def test_pruned(self) -> None:
        """The line that forgets a job is told from the others."""
        self.assertEqual(7, segments.pruned_serial(segments.pruned_line(7)))
        self.assertIsNone(segments.pruned_serial(LINE))


class WriterTests(SegmentCase):
    """Batches are written, whatever the disk does, or else not believed."""

    def test_first_batch_begins_segment(self) -> None:
        """The first segment is number one, and its name is durable before its content counts."""
        written = self.write(1)
        self.assertEqual((1, None), (written.number, written.setback))
        self.assertEqual(written.length, os.path.getsize(segment_path(self.directory, 1)))
        self.assertEqual(["create_log", "append", "sync_directory", "append"], self.disk.calls)
        self.assertEqual([1], self.believed())

    def test_roll(self) -> None:
        """Rolling begins a new segment with the batch."""
        self.write(1)
        self.assertEqual(2, self.write(2, roll=True).number)
        self.assertEqual(2, self.write(3).number)
        self.assertEqual([1, 2, 3], self.believed())

    def test_failed_write_goes_to_new_segment(self) -> None:
        """A batch whose writing failed stands whole in a new segment, once."""
        self.write(1)
        self.fail_once("append", partly=30)
        written = self.write(2)
        self.assertEqual(2, written.number)
        self.assertIsNotNone(written.setback)
        self.write(3)
        self.assertEqual([1, 2, 3], self.believed())

    def test_abandoned_segment_counts_as_far_as_good(self) -> None:
        """What a failed write left behind isn't believed even where it couldn't be cut off."""
        self.write(1)
        self.disk.failing["cut"] = errno.EIO
        whole = len(segments.entry(job(2), 2, LINE))
        self.fail_once("append", partly=whole)
        self.write(3)
        self.assertEqual(2, read_file(segment_path(self.directory, 1)).count(LINE))
        self.assertEqual([1, 3], self.believed())

    def test_full_disk(self) -> None:
        """While nothing can be written batches fail; later ones are written, without traces."""
        self.write(1)
        self.disk.fill_up()
        self.disk.partly = 20
        for _ in range(3):
            self.assertRaises(OSError, self.write, 2)
        self.disk.recover()
        self.write(3)
        self.assertEqual([1, 3], self.believed())

    def test_room_for_header_only(self) -> None:
        """Segments that got no further than their header are removed again."""
        self.write(1)
        self.disk.failing["append"] = errno.ENOSPC
        self.assertRaises(OSError, self.write, 2)
        real, count = self.disk.append, [0]

        def every_second(handle: int, data: bytes) -> None:
            count[0] += 1
            if count[0] % 2 == 0:
                raise OSError(errno.ENOSPC, "full")
            real(handle, data)

        self.disk.recover()
        self.disk.append = every_second  # type: ignore[method-assign]  # a fake of a fake
        for _ in range(5):
            self.assertRaises(OSError, self.write, 2)
        del self.disk.append
        self.write(3)
        self.assertEqual(2, len(os.listdir(f"{self.directory}/journal")))
        self.assertEqual([1, 3], self.believed())

    def test_roll_without_room(self) -> None:
        """If no new segment can be begun, the old one goes on."""
        self.write(1)
        self.disk.failing["create_log"] = errno.EMFILE
        written = self.write(2, roll=True)
        self.assertEqual(1, written.number)
        self.assertIsNotNone(written.setback)
        self.disk.recover()
        self.assertEqual(1, self.write(3).number)
        self.assertEqual([1, 2, 3], self.believed())

    def test_directory_not_synced(self) -> None:
        """A segment whose name isn't durable isn't used."""
        self.disk.failing["sync_directory"] = errno.EIO
        self.assertRaises(OSError, self.write, 1)
        self.disk.recover()
        self.write(2)
        self.assertEqual([2], self.believed())

    def test_old_abandoned_segments_are_forgotten(self) -> None:
        """Once a segment is gone, headers speak of it no more."""
        self.write(1)
        self.fail_once("append")
        self.write(2)
        os.unlink(segment_path(self.directory, 1))
        self.write(3, roll=True, oldest=2)
        first = next(segments.entries(self.disk, segment_path(self.directory, 3)))
        header = segments.parse_header(first)
        assert header is not None
        self.assertEqual({}, header.good)
        self.assertEqual(99, header.serial)

    def test_close_without_segment(self) -> None:
        """A writer that never wrote closes quietly."""
        self.writer.close()

    def fail_once(self, name: str, partly: int = 0) -> None:
        """Let the next call of a method of the disk fail, part of the data written."""
        real = getattr(self.disk, name)

        def fails(handle: int, data: bytes) -> None:
            setattr(self.disk, name, real)
            if partly:
                real(handle, data[:partly])
            raise OSError(errno.EIO, "broken")

        setattr(self.disk, name, fails)


class UnsyncedWriterTests(SegmentCase):
    """Batches that don't ask for a sync."""

    synced = False

    def test_sync_only_when_asked(self) -> None:
        """A batch is synced if it asks for it, and takes the ones before along."""
        self.write(1, sync=False)
        self.disk.calls.clear()
        self.write(2, sync=False)
        self.assertEqual(["append"], self.disk.calls)
        self.write(3)
        self.assertEqual(["append", "append", "sync"], self.disk.calls)

    def test_failed_sync_takes_unsynced_along(self) -> None:
        """What wasn't synced when a sync failed stands in the new segment too."""
        self.write(1)
        self.write(2, sync=False)
        self.disk.failing["sync"] = errno.EIO
        # The new segment can't be synced either.
        self.assertRaises(OSError, self.write, 3)
        self.disk.recover()
        self.write(4)
        self.assertEqual([1, 2, 2, 4], self.believed())

    def test_unsynced_survives_a_full_disk(self) -> None:
        """What was written before the disk was full is found by the next daemon."""
        self.write(1)
        self.write(2, sync=False)
        self.disk.fill_up()
        self.disk.partly = 20
        for _ in range(3):
            self.assertRaises(OSError, self.write, 3, sync=False)
        self.assertEqual([1, 2], self.believed())
        self.disk.recover()
        self.write(4)
        # What stands there twice is written to the same place twice.
        self.assertEqual([1, 2, 2, 4], self.believed())

    def test_unsynced_survives_a_failed_sync(self) -> None:
        """So is, unless a power cut comes between, what couldn't be synced."""
        self.write(1)
        self.write(2, sync=False)
        self.disk.failing["sync"] = errno.EIO
        for _ in range(3):
            self.assertRaises(OSError, self.write, 3)
        self.assertEqual([1, 2], self.believed())

    def test_roll_syncs(self) -> None:
        """The old segment is made durable before a new one begins."""
        self.write(1, sync=False)
        self.disk.calls.clear()
        self.write(2, sync=False, roll=True)
        self.assertEqual("sync", self.disk.calls[0])
        self.assertEqual([1, 2], self.believed())

    def test_much_is_synced_unasked(self) -> None:
        """What waits for a sync is bounded."""
        self.write(1, sync=False)
        self.disk.calls.clear()
        big = segments.entry(job(2), 2, b"x" * (5 * 1024 * 1024) + b"\n")
        self.writer.write([big], serial=1, sync=False)
        self.assertEqual(["append", "sync"], self.disk.calls)
