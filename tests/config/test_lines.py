"""Every key's line is known, however the file is laid out."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harpcaller.config.lines import Place, lines_of
from tests.house import HouseCase


def places(document: Any, place: Place = ()) -> set[Place]:
    """Every place that a document has, as tomllib reads it; tables in lists are left out."""
    found: set[Place] = {place} if place else set()
    if isinstance(document, dict):
        for key, value in document.items():
            found |= places(value, (*place, key))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            found |= places(value, (*place, index))
    return found


class LineTests(HouseCase):
    def test_keys_and_tables(self) -> None:
        """Comments and empty lines count as lines."""
        text = "# head\n\na = 1\n[erlang]  # b = 2\nc.d = 3\n"
        self.assertEqual(
            {("a",): 3, ("erlang",): 4, ("erlang", "c", "d"): 5},
            lines_of(text),
        )

    def test_items_of_a_list_over_many_lines(self) -> None:
        """Each item has its own line, and what follows isn't shifted."""
        text = 'a = [ # first\n  "x]", # ]\n\n  [1,\n 2],\n]\nb = 1'
        lines = lines_of(text)
        self.assertEqual(2, lines[("a", 0)])
        self.assertEqual(4, lines[("a", 1)])
        self.assertEqual(5, lines[("a", 1, 1)])
        self.assertEqual(7, lines[("b",)])

    def test_what_looks_like_a_key_in_a_long_string(self) -> None:
        """Text is not structure."""
        text = 'a = """\n[b]\nc = "1"\n\\""" \nd = 2"""\ne = \'\'\'\nf = 1\n\'\'\'\'\ng = 1'
        self.assertEqual({("a",): 1, ("e",): 6, ("g",): 9}, lines_of(text))

    def test_quoted_keys(self) -> None:
        """A quoted key is known by its meaning."""
        text = '"a\\u0062" = 1\n\'c.d\' = 2\n["e"."f"]'
        self.assertEqual({("ab",): 1, ("c.d",): 2, ("e", "f"): 3}, lines_of(text))

    def test_inline_tables_and_lists_of_tables(self) -> None:
        """All of TOML's ways to nest are followed."""
        text = "a = {b = 1, c = {d = [2]}}\n[[e]]\nf = 1\n[[e]]\nf = 2\n[e.g]\n[[e.g.h]]\ni = 1"
        lines = lines_of(text)
        self.assertEqual(1, lines[("a", "c", "d", 0)])
        self.assertEqual(2, lines[("e",)])
        self.assertEqual(3, lines[("e", 0, "f")])
        self.assertEqual((4, 5), (lines[("e", 1)], lines[("e", 1, "f")]))
        self.assertEqual((6, 8), (lines[("e", 1, "g")], lines[("e", 1, "g", "h", 0, "i")]))

    def test_values_of_several_words(self) -> None:
        """A date with a space and a number with a point are one value."""
        text = "a = 2026-11-21 03:16:01.5Z\nb = [1.5, -2e3]\nc = inf"
        self.assertEqual(1, lines_of(text)[("a",)])
        self.assertEqual(2, lines_of(text)[("b", 1)])
        self.assertEqual(3, lines_of(text)[("c",)])

    @given(
        st.recursive(
            st.one_of(st.integers(), st.booleans(), st.text(st.sampled_from("a\"'\\[]{}=#,\n"))),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.text(st.sampled_from("ab.\"' #]="), min_size=1), inner, max_size=3
                )
            ),
            max_leaves=8,
        )
    )
    def test_finds_whatever_tomllib_finds(self, value: Any) -> None:
        """No value, however odd, hides a key or makes one up."""
        text = f"first = {toml(value)}\nlast = 1"
        document = tomllib.loads(text)
        lines = lines_of(text)
        self.assertEqual(places(document), set(lines))
        self.assertEqual(1 + toml(value).count("\n") + 1, lines[("last",)])


def toml(value: Any) -> str:
    """Write a value as TOML, its lists one item per line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{quoted}"'
    if isinstance(value, list):
        return "[\n" + "".join(f"{toml(item)}, # ]\n" for item in value) + "]"
    return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
