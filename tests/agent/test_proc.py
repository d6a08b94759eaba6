"""What users' procedures files are made of."""

from __future__ import annotations

from typing import Any

import harpd.proc
from harpcaller.agent import proc
from harpcaller.agent.proc import (
    Procedure,
    Result,
    StreamingProcedure,
    procedure,
    streaming_procedure,
)
from tests.house import HouseCase


class DecoratorTests(HouseCase):
    def test_function_stays_callable(self) -> None:
        """A decorated function is called in the file as if it had no decorator."""

        @procedure
        def add(a: int, b: int = 2) -> int:
            """Add."""
            return a + b

        self.assertIsInstance(add, Procedure)
        self.assertEqual((3, 5), (add(1), add(1, b=4)))
        self.assertEqual("Add.", add.__doc__)
        self.assertEqual(["a", "b"], list(add.signature().parameters))

    def test_options(self) -> None:
        """User, groups and limit are written down, for streaming procedures too."""

        @procedure(uid="nobody", gid=["users", 4], timeout=30, lock="disk")
        def one() -> None: ...

        @streaming_procedure(uid=65534, gid="users", timeout=0.5)
        def two() -> None: ...

        self.assertEqual(("nobody", ["users", 4], 30.0), (one.uid, one.gid, one.timeout))
        self.assertEqual((65534, "users", 0.5), (two.uid, two.gid, two.timeout))
        self.assertEqual(("disk", None), (one.lock, two.lock))
        self.assertIsInstance(two, StreamingProcedure)

    def test_streaming_without_options(self) -> None:
        """The streaming decorator needs no brackets either."""

        @streaming_procedure
        def numbers(n: int) -> Any:
            yield from range(n)

        self.assertEqual([0, 1], list(numbers(2)))

    def test_bad_options(self) -> None:
        """A wrong option is told when the file is loaded, at the decorator's line."""
        for error, options in (
            (TypeError, {"uid": True}),
            (TypeError, {"uid": 1.5}),
            (ValueError, {"uid": ""}),
            (ValueError, {"uid": -1}),
            (TypeError, {"gid": 1.5}),
            (TypeError, {"gid": [None]}),
            (ValueError, {"gid": []}),
            (TypeError, {"timeout": "1"}),
            (TypeError, {"timeout": True}),
            (ValueError, {"timeout": 0}),
            (ValueError, {"timeout": float("nan")}),
            (ValueError, {"uid": 2**32 - 1}),
            (ValueError, {"gid": [5, 2**32 - 1]}),
            (TypeError, {"lock": 5}),
            (ValueError, {"lock": ""}),
            (TypeError, {"color": "red"}),
        ):
            with self.subTest(options=options), self.assertRaises(error):
                procedure(**options)

    def test_not_a_function(self) -> None:
        """Only something that can be called is a procedure."""
        with self.assertRaisesRegex(TypeError, "expected a function, got 5"):
            Procedure(5)  # type: ignore[arg-type]  # that's the point


class SubclassTests(HouseCase):
    def test_own_call(self) -> None:
        """A subclass may be the procedure itself, without calling our __init__."""

        class Restart(Procedure):
            timeout = 5.0

            def __init__(self, service: str) -> None:
                self.service = service

            def __call__(self, how: str) -> str:
                return f"{self.service} {how}"

        restart = Restart("nginx")
        self.assertEqual("nginx hard", restart("hard"))
        self.assertEqual(["how"], list(restart.signature().parameters))
        self.assertEqual((None, None, 5.0), (restart.uid, restart.gid, restart.timeout))

    def test_nothing_to_run(self) -> None:
        """A procedure of nothing says so when it is called."""
        with self.assertRaisesRegex(TypeError, "has no function"):
            Procedure()()


class NamesTests(HouseCase):
    def test_users_import_name(self) -> None:
        """harpd.proc is the same as harpcaller.agent.proc."""
        self.assertEqual(proc.__all__, harpd.proc.__all__)
        for name in proc.__all__:
            self.assertIs(getattr(proc, name), getattr(harpd.proc, name))

    def test_result(self) -> None:
        """A result holds its value."""
        self.assertEqual("Result([1])", repr(Result([1])))
