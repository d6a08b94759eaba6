"""What a worker makes of its procedure; the process itself is tried in tests/system."""

from __future__ import annotations

import contextlib
import io
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from harpcaller.agent import worker
from harpcaller.agent.proc import CallInfo, Procedure, Result, StreamingProcedure
from harpcaller.agent.signature import parameters_of
from harpcaller.wire.agent import Said
from harpcaller.wire.ending import Ending, Failed, Raised, Returned
from harpcaller.wire.values import Raw, decode
from tests.house import HouseCase

INFO = CallInfo("somebody", "192.0.2.1", 7)


class CalledTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.ours, theirs = socket.socketpair()
        self.theirs = theirs
        self.addCleanup(self.ours.close)
        self.addCleanup(theirs.close)

    def call(
        self, function: Callable[..., Any], arguments: object = (), streaming: bool = False
    ) -> Ending:
        kind = StreamingProcedure if streaming else Procedure
        given = list(arguments) if isinstance(arguments, tuple) else arguments
        with contextlib.redirect_stderr(io.StringIO()) as printed:
            ending = self.called(kind(function), given)
        self.printed = printed.getvalue()
        return ending

    def called(self, procedure: Procedure, arguments: object) -> Ending:
        mouth, parameters = worker.Mouth(self.theirs), parameters_of(procedure)
        return worker.called(procedure, parameters, arguments, INFO, mouth, worker.Terms())

    def test_call_info(self) -> None:
        """A parameter for it gets who calls, wherever it stands among the others."""

        def first(call: CallInfo, a: int, b: int = 2) -> object:
            return [call.user, call.peer, call.id, a, b]

        def last(a: int = 1, *, call: CallInfo) -> object:
            return [call.user, call.peer, call.id, a]

        def optional(a: int = 1, call: CallInfo | None = None, *rest: int) -> object:
            return [call is INFO, a, *rest]

        told = b'"somebody","192.0.2.1",7'
        for function, arguments, result in (
            (first, (5,), b"[%s,5,2]" % told),
            (first, {"b": 3, "a": 4}, b"[%s,4,3]" % told),
            (last, (), b"[%s,1]" % told),
            (last, (5,), b"[%s,5]" % told),
            (optional, (), b"[true,1]"),
            (optional, (5, 6), b"[true,5,6]"),
        ):
            with self.subTest(function=function, arguments=arguments):
                self.assertEqual(Returned(Raw(result)), self.call(function, arguments))

    def records(self) -> bytes:
        return self.ours.recv(100_000)

    def test_value(self) -> None:
        """What a procedure returns is the result; lists go by position, objects by name."""
        self.assertEqual(Returned(Raw(b"[1,2]")), self.call(lambda a, b: [a, b], (1, 2)))
        self.assertEqual(Returned(Raw(b"[1,2]")), self.call(lambda a, b: [a, b], {"b": 2, "a": 1}))
        self.assertEqual(Returned(Raw(b"null")), self.call(lambda: None))
        self.assertEqual(Returned(Raw(b"5")), self.call(lambda: Result(5)))

    def test_records(self) -> None:
        """Items are sent as they come; a Result is the last, and the generator is closed."""
        closed = []

        def items(n: int) -> Iterator[object]:
            try:
                yield from range(n)
                yield Result("done")
                yield "never"
            finally:
                closed.append(True)

        self.assertEqual(Returned(Raw(b'"done"')), self.call(items, (2,), streaming=True))
        self.assertEqual(b'{"stream":0}\n{"stream":1}\n', self.records())
        self.assertEqual([True], closed)

    def test_no_result(self) -> None:
        """Anything to iterate over will do; without a Result, the result is null."""
        self.assertEqual(Returned(Raw(b"null")), self.call(lambda: [1], streaming=True))
        self.assertEqual(Returned(Raw(b'"x"')), self.call(lambda: [Result("x")], streaming=True))

    def test_not_to_be_written(self) -> None:
        """A result or record without a JSON form is an error."""
        for value in (float("nan"), {1, 2}, object()):
            with self.subTest(value=value):
                found = self.call(lambda value=value: value)
                assert isinstance(found, Failed)
                self.assertEqual("invalid_message", found.type)
                self.assertIn("the result can't be written as JSON", found.message)
        found = self.call(lambda: [1, {2}], streaming=True)
        assert isinstance(found, Failed)
        self.assertIn("a record can't be", found.message)

    def test_too_large(self) -> None:
        """A result that no caller would read is an error."""
        self.patch(worker, "MAX_MESSAGE_SIZE", 2000)
        found = self.call(lambda: "x" * 2000)
        assert isinstance(found, Failed)
        self.assertEqual("invalid_message", found.type)
        self.assertIn("2002 bytes", found.message)

    def test_exception(self) -> None:
        """An exception is told with its class; the traceback, without our part, is printed."""

        class Mine(ValueError):
            pass

        def fails() -> None:
            raise Mine("no \ud800 good")

        found = self.call(fails)
        assert isinstance(found, Raised) and found.data is not None
        self.assertEqual(("Mine", "no \\ud800 good"), (found.type, found.message))
        data = decode(found.data)
        self.assertEqual(__name__, data["module"])
        self.assertTrue(data["class"].endswith("Mine"))
        self.assertIn("in fails", self.printed)
        self.assertNotIn("agent/worker.py", self.printed)

    def test_exit_is_an_exception(self) -> None:
        """sys.exit in a procedure is told like any exception."""

        def leaves() -> None:
            raise SystemExit(3)

        found = self.call(leaves)
        assert isinstance(found, Raised)
        self.assertEqual(("SystemExit", "3"), (found.type, found.message))

    def test_exception_without_message(self) -> None:
        """An exception whose message can't be had is told all the same."""

        class Broken(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        def fails() -> None:
            raise Broken

        found = self.call(fails)
        assert isinstance(found, Raised)
        self.assertEqual(("Broken", "(its message can't be had)"), (found.type, found.message))

    def test_long_message(self) -> None:
        """A very long message is cut."""

        def fails() -> None:
            raise ValueError("x" * 1_000_000)

        found = self.call(fails)
        assert isinstance(found, Raised)
        self.assertEqual(worker.MAX_EXCEPTION_MESSAGE, len(found.message))

    def test_nobody_listens(self) -> None:
        """If the server is gone, a stream ends without a word."""
        self.ours.close()
        with self.assertRaises(BrokenPipeError):
            self.call(lambda: iter(int, 1), streaming=True)

    def test_no_such_user(self) -> None:
        """A user that can't be had is the system's error, and nothing is run."""
        found = self.called(Procedure(self.fail, uid="no-such-user"), ["it was run"])
        assert isinstance(found, Failed)
        self.assertEqual("system_error", found.type)
        self.assertIn("no-such-user", found.message)


class MouthTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.ours, self.theirs = socket.socketpair()
        self.addCleanup(self.ours.close)
        self.addCleanup(self.theirs.close)

    def test_interrupted(self) -> None:
        """A signal that raises in the middle of a message doesn't spoil what is said next."""

        class Interrupted(Exception):
            pass

        def interrupt(number: int, frame: object) -> None:
            raise Interrupted

        before = signal.signal(signal.SIGALRM, interrupt)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        mouth = worker.Mouth(self.theirs)
        text = Raw(b'"%s"' % (b"x" * 1_000_000))
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with self.assertRaises(Interrupted):
            mouth.say(Said(text))
        heard = bytearray()

        def listen() -> None:
            while data := self.ours.recv(100_000):
                heard.extend(data)

        listening = threading.Thread(target=listen)
        listening.start()
        mouth.say(Returned(Raw(b"1")))
        self.theirs.close()
        listening.join()
        self.assertEqual(b'{"stream":%s}\n{"result":1}\n' % text, bytes(heard))
