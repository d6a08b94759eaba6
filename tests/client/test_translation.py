"""Python's values and the wire's."""

from __future__ import annotations

import pickle
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.client.exceptions import (
    CALL_CANCELLED,
    CALL_NOT_FINISHED,
    CancelledException,
    CommunicationError,
    HarpException,
    RemoteError,
    RemoteException,
)
from harpcaller.client.translation import (
    CallOptions,
    call_request,
    checked,
    outcome,
    python_value,
    raw_arguments,
    refusal,
    refused,
    result_or_raise,
)
from harpcaller.wire.client import Call, FollowStream, JobId, QueueSpec
from harpcaller.wire.client_answers import NotEnded, Submitted
from harpcaller.wire.ending import Cancelled, Ending, Failed, Raised, Returned
from harpcaller.wire.values import EMPTY_LIST, Raw


class ArgumentsTests(SynchronousTestCase):
    """What a program passes becomes the call's arguments."""

    def test_positional(self) -> None:
        """A list; none at all is an empty one."""
        self.assertEqual(b'["a",1,null]', raw_arguments(("a", 1, None), {}))
        self.assertEqual(b"[]", raw_arguments((), {}))

    def test_named(self) -> None:
        """An object."""
        self.assertEqual(b'{"a":1}', raw_arguments((), {"a": 1}))

    def test_mixed(self) -> None:
        """The protocol has no place for both."""
        self.assertRaises(HarpException, raw_arguments, (1,), {"a": 1})

    def test_values_without_a_json_form(self) -> None:
        """They are told as such, not as a TypeError from somewhere inside."""
        circle: list[Any] = []
        circle.append(circle)
        for value in ({1}, float("nan"), object(), circle, b"bytes"):
            error = self.assertRaises(HarpException, raw_arguments, (value,), {})
            self.assertIn("arguments: cannot be written as JSON", str(error))


class CallRequestTests(SynchronousTestCase):
    """A call with its options."""

    def test_all_options(self) -> None:
        """Each goes to its place in the request."""
        options = CallOptions({"q": 1}, 2, 60, 300.5, {"who": "me"})
        self.assertEqual(
            Call(
                "web01",
                "restart",
                EMPTY_LIST,
                60,
                300.5,
                QueueSpec(Raw(b'{"q":1}'), 2),
                Raw(b'{"who":"me"}'),
            ),
            call_request("web01", "restart", EMPTY_LIST, options),
        )

    def test_defaults(self) -> None:
        """Without options there is no queue, and a queue is one wide."""
        self.assertEqual(
            Call("h", "p", EMPTY_LIST), call_request("h", "p", EMPTY_LIST, CallOptions())
        )
        self.assertEqual(
            QueueSpec(Raw(b"{}"), 1), call_request("h", "p", EMPTY_LIST, CallOptions({})).queue
        )

    def test_mistakes_are_named_before_anything_is_sent(self) -> None:
        """The message tells which option is wrong, as the dispatcher would."""
        wrong: list[tuple[str, Any, CallOptions]] = [
            ("host", 7, CallOptions()),
            ("timeout", "h", CallOptions(timeout=0)),
            ("timeout", "h", CallOptions(timeout="60")),  # type: ignore[arg-type]  # the mistake
            ("max_exec_time", "h", CallOptions(max_exec_time=-1)),
            ("queue.name", "h", CallOptions(["q"])),  # type: ignore[arg-type]  # the mistake
            ("queue.concurrency", "h", CallOptions({}, 0)),
            ("info", "h", CallOptions(info={1, 2})),
        ]
        for field, host, options in wrong:
            error = self.assertRaises(HarpException, call_request, host, "p", EMPTY_LIST, options)
            self.assertTrue(str(error).startswith(f"{field}: "), str(error))

    def test_number_that_json_lacks(self) -> None:
        """A timeout of NaN is refused like any other mistake."""
        options = CallOptions(timeout=float("nan"))
        self.assertRaises(HarpException, call_request, "h", "p", EMPTY_LIST, options)

    def test_since_and_recent(self) -> None:
        """One of them says where to begin, not both."""
        request = FollowStream(JobId("j"), 1, 2)
        error = self.assertRaises(HarpException, checked, request)
        self.assertEqual("since and recent in one request", str(error))


class OutcomeTests(SynchronousTestCase):
    """How a call ended, as a value or as an exception."""

    def test_result(self) -> None:
        """It is the same from both."""
        self.assertEqual({"a": [1, 2.5]}, outcome(Returned(Raw(b'{"a":[1,2.5]}'))))
        self.assertEqual({"a": [1, 2.5]}, result_or_raise(Returned(Raw(b'{"a":[1,2.5]}'))))

    def test_marks(self) -> None:
        """Not finished is a mark from both; cancelled is one, or an exception."""
        self.assertIs(CALL_NOT_FINISHED, outcome(NotEnded()))
        self.assertIs(CALL_NOT_FINISHED, result_or_raise(NotEnded()))
        self.assertIs(CALL_CANCELLED, outcome(Cancelled()))
        self.assertRaises(CancelledException, result_or_raise, Cancelled())

    def test_errors(self) -> None:
        """They are objects, or raised, with all that was told of them."""
        cases: list[tuple[Ending, type[RemoteError | RemoteException]]] = [
            (Raised("KeyError", "no x", Raw(b'{"a":1}')), RemoteException),
            (Failed("timeout", "took too long"), RemoteError),
        ]
        for ending, kind in cases:
            told = outcome(ending)
            self.assertIs(kind, type(told))
            raised = self.assertRaises(kind, result_or_raise, ending)
            self.assertEqual(told.args, raised.args)
        self.assertEqual(
            ("KeyError", "no x", {"a": 1}),
            (lambda e: (e.type, e.message, e.data))(outcome(cases[0][0])),
        )
        self.assertEqual("timeout: took too long", str(outcome(cases[1][0])))

    def test_value_that_python_cannot_hold(self) -> None:
        """A key twice, or a number of 5,000 digits: told as a fault of the talk."""
        for raw in (b'{"a":1,"a":2}', b"9" * 5000):
            self.assertRaises(CommunicationError, python_value, Raw(raw))

    def test_answer_that_fits_nothing(self) -> None:
        """Should one ever come through, it is an error and no result."""
        self.assertIsInstance(refusal(Submitted(JobId("j"))), CommunicationError)

    def test_errors_that_are_no_endings(self) -> None:
        """An unknown job is told of the question; a timeout is how a job ended."""
        self.assertTrue(refused(Failed("invalid_jobid", "")))
        self.assertFalse(refused(Failed("timeout", "")))
        self.assertFalse(refused(Raised("invalid_jobid", "")))


class ExceptionsTests(SynchronousTestCase):
    """What programs catch, keep and pass on."""

    def test_everything_is_a_harp_exception(self) -> None:
        """One except clause catches all."""
        for kind in (CommunicationError, CancelledException, RemoteException, RemoteError):
            self.assertTrue(issubclass(kind, HarpException))

    def test_they_survive_pickling(self) -> None:
        """A worker process can hand them to its parent."""
        for error in (RemoteError("t", "m", [1]), RemoteException("t", "m"), CancelledException()):
            again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
            self.assertEqual(
                (type(error), error.args, str(error)), (type(again), again.args, str(again))
            )
        for mark in (CALL_CANCELLED, CALL_NOT_FINISHED):
            self.assertIs(mark, pickle.loads(pickle.dumps(mark)))  # noqa: S301 - our own

    def test_marks_tell_their_names(self) -> None:
        """In a log they read as what they are."""
        self.assertEqual("harp.CALL_NOT_FINISHED", repr(CALL_NOT_FINISHED))
