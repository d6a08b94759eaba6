"""Mistakes are told in one clear line each."""

from __future__ import annotations

from harpcaller.config.problems import ConfigurationError, Problem, nearest
from tests.house import HouseCase


class ProblemTests(HouseCase):
    def test_problem_names_file_and_line(self) -> None:
        """An operator can jump to the place."""
        problem = Problem("/etc/x.toml", 4, "max_age: expected a number")
        self.assertEqual("/etc/x.toml: line 4: max_age: expected a number", str(problem))

    def test_problem_without_line_names_the_file(self) -> None:
        """What is missing has no line."""
        problem = Problem("/etc/x.toml", None, "host_db: missing")
        self.assertEqual("/etc/x.toml: host_db: missing", str(problem))

    def test_error_has_a_line_for_each_problem(self) -> None:
        """One run names every mistake."""
        error = ConfigurationError([Problem("/x", 1, "a: wrong"), Problem("/x", 2, "b: wrong")])
        self.assertEqual("/x: line 1: a: wrong\n/x: line 2: b: wrong", str(error))
        self.assertEqual(2, len(error.problems))


class NearestTests(HouseCase):
    def test_misspelt_key_is_recognised(self) -> None:
        """A slip of the finger gets the right word back."""
        self.assertEqual("max_age", nearest("max_agee", ["max_age", "listen"]))

    def test_case_does_not_matter(self) -> None:
        """Shouting is a slip too."""
        self.assertEqual("ca_file", nearest("CA_FILE", ["ca_file", "listen"]))

    def test_nothing_similar_gives_nothing(self) -> None:
        """A wild guess would mislead."""
        self.assertIsNone(nearest("zzz", ["max_age", "listen"]))
