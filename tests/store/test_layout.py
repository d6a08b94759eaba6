"""Job ids and paths."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harpcaller.errors import InvalidJobId
from harpcaller.store import layout
from harpcaller.wire.client import JobId
from tests.house import HouseCase
from tests.store.jobs import job

ID = JobId("8ec71d6b-28d1-4ce2-aa23-f3ea7887beda")


class LayoutTests(HouseCase):
    """Where things lie in a store."""

    def test_two_levels(self) -> None:
        """The first four digits make two directories, the rest is the file's name."""
        self.assertEqual("/s/8e/c7/1d6b-28d1-4ce2-aa23-f3ea7887beda", layout.job_path("/s", ID))

    def test_only_job_ids_have_paths(self) -> None:
        """What isn't a lower-case UUID of version 4 has no path."""
        bad = [
            "", ID.upper(), ID + "\n", ID[:-1], ID.replace("-", ""), "../" + ID,
            ID.replace("-4ce2", "-1ce2"), ID.replace("-aa23", "-ca23"), "8e/c7" + ID[4:],
        ]  # fmt: skip
        for text in bad:
            self.assertFalse(layout.is_job_id(text), text)
            self.assertRaises(InvalidJobId, layout.job_path, "/s", text)

    @given(st.text(max_size=40))
    def test_no_traversal(self, text: str) -> None:
        """No text that isn't a job id becomes a path, whatever it is made of."""
        if not layout.is_job_id(text):
            self.assertRaises(InvalidJobId, layout.job_path, "/s", text)

    def test_there_and_back(self) -> None:
        """The id is known from the path."""
        for number in range(50):
            _, _, first, second, rest = layout.job_path("/s", job(number)).split("/")
            self.assertEqual(job(number), layout.job_id_at(first, second, rest))

    def test_foreign_files(self) -> None:
        """Files that are no job's aren't taken for one."""
        rest = ID[4:]
        self.assertIsNone(layout.job_id_at("8e", "c7", rest + ".tmp"))
        self.assertIsNone(layout.job_id_at("8", "ec7", rest))
        self.assertIsNone(layout.job_id_at("journal", "c7", rest))

    def test_journal_names(self) -> None:
        """A segment and its list of living jobs carry its number in their names."""
        self.assertEqual("/s/journal/00000007.log", layout.segment_path("/s", 7))
        self.assertEqual("/s/journal/00000007.living", layout.living_path("/s", 7))
        self.assertEqual(7, layout.segment_number("00000007.log"))
        self.assertEqual(123456789, layout.segment_number("123456789.log"))
        self.assertEqual(7, layout.living_number("00000007.living"))
        for name in ("00000007.living", "7.log", "x.log", "00000007.log~"):
            self.assertIsNone(layout.segment_number(name))
        self.assertIsNone(layout.living_number("00000007.log"))
