"""Arguments are checked before anything is started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harpcaller.agent.proc import Procedure, StreamingProcedure, procedure
from harpcaller.agent.signature import MAX_DOC, Description, describe, from_object
from harpcaller.errors import InvalidArgumentList
from harpcaller.wire.agent import Procedure as WireProcedure
from harpcaller.wire.values import decode, encode
from tests.house import HouseCase


def over_the_wire(function: Callable[..., Any]) -> Description:
    """What the server knows of a function, told by the template as JSON."""
    return from_object(decode(encode(describe("it", Procedure(function, timeout=5)))))


class CheckTests(HouseCase):
    def assert_fits(self, function: Callable[..., Any], *arguments: bytes) -> None:
        for one in arguments:
            over_the_wire(function).check(one)

    def refusal(self, function: Callable[..., Any], arguments: bytes) -> str:
        with self.assertRaises(InvalidArgumentList) as caught:
            over_the_wire(function).check(arguments)
        return str(caught.exception.message)

    def test_what_fits(self) -> None:
        """A list goes by position, an object by name; defaults and stars are known."""
        self.assert_fits(lambda: 0, b"[]", b"{}")
        self.assert_fits(lambda a, b=5: 0, b"[1]", b"[1,2]", b'{"a":1}', b'{"b":1,"a":null}')
        self.assert_fits(lambda *args: 0, b"[]", b"[1,2,3]")
        self.assert_fits(lambda **kwargs: 0, b"{}", b'{"x":1,"y":2}')
        self.assert_fits(lambda a, *, b: 0, b'{"a":1,"b":2}')

    def test_missing(self) -> None:
        """The message says what is missing and shows the signature, but no default's value."""
        message = self.refusal(lambda host, tries="secret": 0, b"[]")
        self.assertIn("'host'", message)
        self.assertIn("it(host, tries=...)", message)
        self.assertNotIn("secret", message)
        self.assertIn("'b'", self.refusal(lambda a, *, b: 0, b"[1]"))

    def test_too_many(self) -> None:
        """The message says that there are too many, or which one isn't known."""
        self.assertIn("too many positional", self.refusal(lambda a: 0, b"[1,2]"))
        self.assertIn("'c'", self.refusal(lambda a: 0, b'{"a":1,"c":2}'))

    def test_positional_only(self) -> None:
        """A parameter before the slash can't be given by name."""

        def only(a: int, /) -> None: ...

        self.assert_fits(only, b"[1]")
        self.assertIn("'a'", self.refusal(only, b'{"a":1}'))

    def test_not_to_be_read(self) -> None:
        """Arguments that can't be had as Python values are refused too."""
        self.assertIn("stands twice", self.refusal(lambda a: 0, b'{"a":1,"a":2}'))
        self.assertIn("digits", self.refusal(lambda a: 0, b"[%s]" % (b"1" * 5000)))


class DescriptionTests(HouseCase):
    def test_over_the_wire(self) -> None:
        """Name, limit and kind arrive."""
        found = over_the_wire(lambda: 0)
        self.assertEqual(("it", False, 5), (found.name, found.streaming, found.timeout_seconds))
        streaming = from_object(describe("it", StreamingProcedure(lambda n: [n])))
        self.assertTrue(streaming.streaming)
        self.assertIsNone(streaming.timeout_seconds)

    def test_docstring(self) -> None:
        """The docstring comes along, without its indentation and not without end."""

        @procedure
        def told() -> None:
            """Say it.

            Twice.
            """

        class Own(Procedure):
            """What it does."""

            def __call__(self) -> None: ...

        class Plain(Procedure):
            def __call__(self) -> None: ...

        class Odd(Procedure):
            __doc__ = 7  # type: ignore[assignment]  # as users might

            def __call__(self) -> None: ...

        def long() -> None: ...

        long.__doc__ = "x" * 2 * MAX_DOC
        for given, doc in [
            (told, "Say it.\n\nTwice."),
            (Own(), "What it does."),
            (Plain(), ""),
            (Odd(), ""),
            (Procedure(lambda: 0), ""),
            (Procedure(long), "x" * MAX_DOC),
        ]:
            self.assertEqual(doc, from_object(describe("it", given)).told().doc)

    def test_told_to_callers(self) -> None:
        """Callers see the parameters, but not what their defaults are."""
        found = over_the_wire(lambda a, *rest, b="secret", **more: 0).told()
        self.assertEqual(WireProcedure("it", "(a, *rest, b=..., **more)", "", False), found)
