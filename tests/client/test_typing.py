"""What the library promises to type checkers and to those who read its help."""

from __future__ import annotations

import inspect
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import harp
import harpcaller.client
from tests.client import typed_usage


class PromisesTests(SynchronousTestCase):
    """Names, types and docstrings; mypy checks ``typed_usage`` with the rest of the tests."""

    def test_marker_of_typed_packages(self) -> None:
        """Type checkers look into both packages."""
        for package in (harp, harpcaller):
            assert package.__file__ is not None
            self.assertTrue(Path(package.__file__).with_name("py.typed").exists())

    def test_names(self) -> None:
        """``harp`` has every public name of the client, and the same things under them."""
        self.assertEqual(sorted(harpcaller.client.__all__), sorted(harp.__all__))
        for name in harp.__all__:
            self.assertIs(getattr(harpcaller.client, name), getattr(harp, name))

    def test_everything_public_is_explained(self) -> None:
        """``help(harp)`` says something of each class and method."""
        for name in harp.__all__:
            thing = getattr(harp, name)
            if inspect.isclass(thing):
                self.assertTrue(inspect.getdoc(thing), name)
                for method, function in inspect.getmembers(thing, inspect.isfunction):
                    if not method.startswith("_"):
                        self.assertTrue(inspect.getdoc(function), f"{name}.{method}")

    def test_user_code_with_types(self) -> None:
        """The module that mypy checks can be imported, so that it isn't forgotten."""
        self.assertTrue(typed_usage.call.__doc__)
