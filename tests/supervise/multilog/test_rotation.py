"""When files end, which go, and what becomes of those that were found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.supervise.multilog.rotation import (
    MARGIN,
    Found,
    Way,
    is_complete,
    is_finished,
    old_name,
    portion,
    surplus,
    takeover,
)
from tests.wire.strategies import pieces


def files_of(given_pieces: list[bytes], size: int, *, filled: int = 0) -> list[bytes]:
    """Write pieces the way a log directory does; gives the contents of the files."""
    files = [bytearray(filled)]
    for data in given_pieces:
        place = 0
        while place < len(data):
            if len(files[-1]) >= size:
                files.append(bytearray())
            end = portion(data, place, len(files[-1]), size)
            assert place < end <= len(data)
            files[-1] += data[place:end]
            place = end
            if is_finished(len(files[-1]), size, data[place - 1]):
                files.append(bytearray())
    return [bytes(file) for file in files]


class PortionTests(SynchronousTestCase):
    """Where a file ends."""

    def test_first_newline_near_the_end(self) -> None:
        """It ends at the first newline within 2000 bytes of its size."""
        lines = (b"x" * 99 + b"\n") * 50
        self.assertEqual([2100, 2100, 800], [len(one) for one in files_of([lines], 4096)])

    def test_exactly(self) -> None:
        """One byte less than that isn't near."""
        self.assertEqual([2095], [len(one) for one in files_of([b"x" * 2094 + b"\n"], 4096)])
        self.assertEqual([2096, 0], [len(one) for one in files_of([b"x" * 2095 + b"\n"], 4096)])

    def test_long_line(self) -> None:
        """A line that's longer than a file is split over full ones."""
        data = b"x" * 10000 + b"\n"
        self.assertEqual([4096, 4096, 1809], [len(one) for one in files_of([data], 4096)])
        # One that is just full, in the middle of a line, stays until more comes.
        self.assertEqual([4096], [len(one) for one in files_of([b"x" * 4096], 4096)])
        self.assertEqual([4096, 1], [len(one) for one in files_of([b"x" * 4096, b"\n"], 4096)])

    def test_taken_over(self) -> None:
        """One that was written by another, with another size, ends at the first occasion."""
        self.assertEqual([5000, 2], [len(one) for one in files_of([b"a\n"], 4096, filled=5000)])
        self.assertEqual([3002, 2], [len(one) for one in files_of([b"a\nb\n"], 4096, filled=3000)])

    @given(
        st.lists(st.sampled_from([b"", b"a", b"b" * 90, b"c" * 1999, b"d" * 2000, b"e" * 9000])),
        st.lists(st.integers(0)),
        st.sampled_from([4096, 5000]),
        st.integers(0, 6000),
    )
    def test_same_however_it_came(
        self, lines: list[bytes], places: list[int], size: int, filled: int
    ) -> None:
        """Files are the same however reads cut the stream, and of a fitting size."""
        data = b"".join(line + b"\n" for line in lines)
        files = files_of(pieces(data, places), size, filled=filled)
        self.assertEqual(files, files_of([data], size, filled=filled))
        self.assertEqual(bytes(filled) + data, b"".join(files))
        for file in files[1:-1]:
            self.assertTrue(size - MARGIN <= len(file) <= size)
            self.assertTrue(file.endswith(b"\n") or len(file) == size)


class NameTests(SynchronousTestCase):
    """Old files."""

    def test_names(self) -> None:
        """The label, and whether it is safe."""
        self.assertEqual("@400000000000000a00000007.s", old_name(7, safe=True))
        self.assertEqual("@400000000000000a00000007.u", old_name(7, safe=False))

    def test_surplus(self) -> None:
        """The smallest names go, so that there is one less than allowed: current counts."""
        names = [old_name(number, safe=True).encode() for number in (5, 3, 9, 4)]
        others = [b"current", b"lock", b"@short", b"@" + b"0" * 23, b"x" * 25]
        self.assertEqual([], surplus([*names, *others], 5))
        self.assertEqual([old_name(3, safe=True).encode()], surplus([*names, *others], 4))
        self.assertEqual(
            [old_name(number, safe=True).encode() for number in (3, 4, 5)], surplus(names, 2)
        )
        self.assertEqual([b"@" + b"\xff" * 24], surplus([b"@" + b"\xff" * 24] * 2, 2))


class TakeoverTests(SynchronousTestCase):
    """What another writer has left."""

    def test_clean(self) -> None:
        """After a clean end nothing is touched; the x of the owner is the sign."""
        self.assertEqual((), takeover(current=True, processed=True))
        self.assertEqual(
            [True, True, False, False],
            [is_complete(mode) for mode in (0o100744, 0o100100, 0o100644, 0o100677)],
        )

    def test_killed(self) -> None:
        """After a kill what was written is put away as torn, the processor's state is lost."""
        self.assertEqual(
            (
                Found("state", Way.REMOVE),
                Found("newstate", Way.REMOVE),
                Found("processed", Way.REMOVE),
                Found("previous", Way.TORN),
                Found("current", Way.TORN),
            ),
            takeover(current=False, processed=False),
        )

    def test_killed_after_processing(self) -> None:
        """What was processed completely takes the place of its original."""
        self.assertEqual(
            (
                Found("state", Way.REMOVE),
                Found("newstate", Way.REMOVE),
                Found("previous", Way.REMOVE),
                Found("processed", Way.SAFE),
                Found("current", Way.TORN),
            ),
            takeover(current=False, processed=True),
        )
