"""What the library promises to type checkers and to those who read its help."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase

import harp
import harp.aio
import harpcaller.client
import harpcaller.client.aio
import harpcaller.client.deferred
from tests.client import typed_usage, typed_usage_aio, typed_usage_deferred


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

    def test_every_face_has_the_same_names(self) -> None:
        """A program goes from one to another by its imports, and by waiting."""
        for face in (harp.aio, harpcaller.client.aio, harpcaller.client.deferred):
            self.assertEqual(sorted(harp.__all__), sorted(face.__all__))
        for name in harp.aio.__all__:
            self.assertIs(getattr(harpcaller.client.aio, name), getattr(harp.aio, name))

    def test_every_face_has_the_same_methods(self) -> None:
        """With the same parameters, so that only what they give differs."""
        for face in (harp.aio, harpcaller.client.deferred):
            for name in ("RemoteCall", "HarpCaller", "RecordIterator", "HarpServer"):
                ours = vars(getattr(harp, name))
                for method, function in ours.items():
                    if inspect.isfunction(function) and not method.startswith("_"):
                        other = getattr(getattr(face, name), method)
                        self.assertEqual(
                            list(inspect.signature(function).parameters),
                            list(inspect.signature(other).parameters),
                            f"{face.__name__}.{name}.{method}",
                        )

    def test_everything_public_is_explained(self) -> None:
        """``help`` says something of each class and method."""
        for face in (harp, harp.aio, harpcaller.client.deferred):
            self.explained(face)

    def explained(self, face: ModuleType) -> None:
        """See that everything public of a face has a docstring."""
        for name in face.__all__:
            thing = getattr(face, name)
            if inspect.isclass(thing):
                self.assertTrue(inspect.getdoc(thing), name)
                for method, function in inspect.getmembers(thing, inspect.isfunction):
                    if not method.startswith("_"):
                        self.assertTrue(inspect.getdoc(function), f"{name}.{method}")

    def test_user_code_with_types(self) -> None:
        """The module that mypy checks can be imported, so that it isn't forgotten."""
        for usage in (typed_usage, typed_usage_aio, typed_usage_deferred):
            self.assertTrue(usage.call.__doc__)
