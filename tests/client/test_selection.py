"""Which hosts a command line means."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.client.exceptions import HarpException
from harpcaller.client.selection import is_pattern, is_several, select

REGISTRY = ["db01", "db02", "web01", "web02", "web10"]

names = st.text("abc.-012", min_size=1)


class SelectionTests(SynchronousTestCase):
    def test_what_is_several(self) -> None:
        """It's told by the writing, not by how many there are."""
        for hosts in ("web01,db01", "web*", "web0?", "web[12]", "web01,", "*"):
            self.assertTrue(is_several(hosts), hosts)
        for hosts in ("web01", "web01.example.net", "10.0.0.1", "::1", ""):
            self.assertFalse(is_several(hosts), hosts)
        self.assertFalse(is_pattern("web01,db01"))

    def test_lists_and_patterns(self) -> None:
        """In the order of the writing, each once; a pattern's in the registry's."""
        for hosts, expected in [
            ("web01", ["web01"]),
            ("web01,db01", ["web01", "db01"]),
            ("web0*", ["web01", "web02"]),
            ("web?0", ["web10"]),
            ("db0[!1]", ["db02"]),
            ("web02,web*,db02,web01", ["web02", "web01", "web10", "db02"]),
            ("*", REGISTRY),
            ("elsewhere,db*", ["elsewhere", "db01", "db02"]),
        ]:
            self.assertEqual(expected, select(hosts, REGISTRY), hosts)

    def test_nothing_fits(self) -> None:
        """A pattern that means nobody is a mistake; capital letters count."""
        for hosts in ("mail*", "web01,mail*", "WEB*", "eb0*"):
            error = self.assertRaises(HarpException, select, hosts, REGISTRY)
            self.assertIn("no host in the registry fits", str(error))

    def test_missing_name(self) -> None:
        """A comma too many is a mistake, too."""
        for hosts in (",", "web01,", ",web01", "web01,,db01"):
            error = self.assertRaises(HarpException, select, hosts, REGISTRY)
            self.assertIn("missing around a comma", str(error))

    @given(st.lists(names, min_size=1), st.lists(names))
    def test_names_are_taken_as_they_are(self, hosts: list[str], registry: list[str]) -> None:
        """Whatever the registry has; each once."""
        self.assertEqual(list(dict.fromkeys(hosts)), select(",".join(hosts), registry))

    @given(st.text(), st.lists(names))
    def test_any_text(self, hosts: str, registry: list[str]) -> None:
        """Hosts, each once, or a HarpException."""
        try:
            found = select(hosts, registry)
        except HarpException:
            return
        self.assertTrue(found)
        self.assertEqual(len(set(found)), len(found))
