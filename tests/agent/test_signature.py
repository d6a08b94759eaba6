"""Arguments are checked before anything is started."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from harpcaller.agent import proc
from harpcaller.agent.proc import CallInfo, Procedure, StreamingProcedure, procedure
from harpcaller.agent.signature import (
    MAX_DOC,
    Description,
    describe,
    from_object,
    parameters_of,
)
from harpcaller.errors import InvalidArgumentList
from harpcaller.wire.agent import Procedure as WireProcedure
from harpcaller.wire.values import decode, encode
from tests.house import HouseCase

#: Under another name, as a procedures file may import it.
Caller = proc.CallInfo


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


class CallInfoTests(HouseCase):
    def reserved(self, function: Callable[..., Any]) -> tuple[str, ...]:
        return over_the_wire(function).reserved

    def test_not_for_callers(self) -> None:
        """A parameter for it isn't part of what callers see."""

        def restart(call: CallInfo, service: str, force: bool = False) -> None: ...

        found = over_the_wire(restart)
        self.assertEqual("(service, force=...)", str(found.signature))
        found.check(b'["nginx"]')
        found.check(b'{"service":"nginx","force":true}')
        with self.assertRaises(InvalidArgumentList):
            found.check(b'["me","nginx",true]')

    def test_cannot_be_faked(self) -> None:
        """A caller can't give it, even where any name is taken."""

        def anything(call: CallInfo, **others: object) -> None: ...

        found = over_the_wire(anything)
        found.check(b'{"user":"me"}')
        with self.assertRaisesRegex(InvalidArgumentList, "'call'"):
            found.check(b'{"call":{"user":"root"}}')

    def test_annotations(self) -> None:
        """The annotation may be evaluated or not, renamed, or an option."""

        def evaluated(call, other): ...  # type: ignore[no-untyped-def]  # annotated below

        evaluated.__annotations__ = {"call": CallInfo, "other": int}
        self.assertEqual(("call",), self.reserved(evaluated))
        for text in ("CallInfo", "proc.CallInfo", "Caller", "CallInfo | None", "nowhere.CallInfo"):
            with self.subTest(text=text):
                evaluated.__annotations__ = {"call": text, "other": "nowhere.Other"}
                self.assertEqual(("call",), self.reserved(evaluated))
        for text in ("int", "nowhere.Other", "list[int]", "1 +"):
            with self.subTest(text=text):
                evaluated.__annotations__ = {"call": text}
                self.assertEqual((), self.reserved(evaluated))

    def test_stars(self) -> None:
        """Stars are always for callers."""

        def starred(*args: CallInfo, **kwargs: CallInfo) -> None: ...

        self.assertEqual((), self.reserved(starred))

    def test_other_than_functions(self) -> None:
        """Methods, partial functions, wrappers and objects that can be called know it, too."""

        class Service:
            def restart(self, call: CallInfo, how: str) -> None: ...

            def __call__(self, call: CallInfo) -> None: ...

        @functools.wraps(Service.restart)
        def wrapper(*args: Any) -> None: ...

        for function in (
            Service(),
            Service().restart,
            functools.partial(Service().restart, how="hard"),
            wrapper,
        ):
            with self.subTest(function=function):
                self.assertEqual(("call",), self.reserved(function))
        self.assertEqual((), self.reserved(print))

    def test_subclass(self) -> None:
        """So do procedures that are classes of their own."""

        class Restart(Procedure):
            lock = "services"

            def __call__(self, how: str, call: CallInfo) -> str:
                return f"{call.user} {how}"

        found = from_object(describe("restart", Restart()))
        self.assertEqual((("call",), "services"), (found.reserved, found.lock))
        info = CallInfo("somebody", "192.0.2.1", 7)
        self.assertEqual("somebody hard", Restart()("hard", info))
        bound = parameters_of(Restart()).bind(["hard"], info)
        self.assertEqual((("hard", info), {}), bound)

    def test_options_of_a_subclass(self) -> None:
        """An option that makes no sense is told, wherever it was set."""
        for name, value in (
            ("timeout", -1),
            ("uid", 2**32 - 1),
            ("gid", []),
            ("lock", ""),
            ("lock", 5),
        ):
            with self.subTest(name=name), self.assertRaisesRegex((ValueError, TypeError), name):
                describe("it", type("Odd", (Procedure,), {name: value})(lambda: 0))
