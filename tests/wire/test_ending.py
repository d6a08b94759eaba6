"""The four ways in which a call ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.errors import BY_WIRE_TYPE, HarpcallerError, NetworkError, WireError
from harpcaller.wire.ending import (
    Cancelled,
    Ending,
    Failed,
    Raised,
    Returned,
    complaint,
    from_members,
    members_of,
)
from harpcaller.wire.fields import BadField
from harpcaller.wire.values import NotJSON, Raw, build, members
from tests.wire.strategies import raws, words

#: Any ending.
endings: st.SearchStrategy[Ending] = st.one_of(
    st.builds(Returned, raws),
    st.builds(Raised, words, words, st.none() | raws),
    st.builds(Failed, words, words, st.none() | raws),
    st.builds(Cancelled),
)


class EndingTests(SynchronousTestCase):
    """Endings and their members."""

    @given(endings)
    def test_round_trip(self, ending: Ending) -> None:
        """What is told is understood; carried values come back as their bytes."""
        self.assertEqual(ending, from_members(members(build(members_of(ending)))))

    def test_members(self) -> None:
        """Each ending stands under its own key."""
        data = Raw(b"1e5")
        cases: list[tuple[Ending, dict[str, bytes]]] = [
            (Returned(data), {"result": b"1e5"}),
            (Raised("T", "m"), {"exception": b'{"type":"T","message":"m"}'}),
            (Failed("T", "m", data), {"error": b'{"type":"T","message":"m","data":1e5}'}),
            (Cancelled(), {"cancelled": b"true"}),
        ]
        for ending, told in cases:
            self.assertEqual(told, members_of(ending))

    def test_no_ending(self) -> None:
        """Other keys tell nothing."""
        self.assertIsNone(from_members({"packet": Raw(b"1")}))

    def test_unknown_members_are_passed_over(self) -> None:
        """In the message, and in a complaint."""
        raw = Raw(b'{"type":"T","message":"m","traceback":[]}')
        self.assertEqual(Raised("T", "m"), from_members({"exception": raw, "x": Raw(b"1")}))

    def test_what_is_amiss(self) -> None:
        """The message names it."""
        for text, said in [
            ('{"result":1,"error":{}}', "result and error in one message"),
            ('{"cancelled":false}', "cancelled: expected true"),
            ('{"exception":"E"}', 'exception: expected an object, got "E"'),
            ('{"error":{"type":"T"}}', "error.message: missing"),
            ('{"error":{"message":"T"}}', "error.type: missing"),
            ('{"error":{"type":1,"message":"m"}}', "error.type: expected a string, got 1"),
            ('{"exception":{"type":"T","message":null}}', "exception.message: expected a string"),
        ]:
            error = self.assertRaises(BadField, from_members, members(text.encode()))
            self.assertIn(said, str(error))
        twice = {"error": Raw(b'{"type":"T","type":"U","message":"m"}')}
        self.assertRaises(NotJSON, from_members, twice)

    def test_message_that_has_no_utf8(self) -> None:
        """An exception that names an odd file is told all the same."""
        raw = Raw(b'{"type":"FileNotFoundError","message":"no file caf\\udce9"}')
        ending = from_members({"exception": raw})
        self.assertEqual(Raised("FileNotFoundError", "no file caf\\udce9"), ending)
        assert ending is not None
        build(members_of(ending)).decode()

    def test_complaint(self) -> None:
        """``data`` stands in it only if there is some."""
        self.assertEqual(b'{"type":"T","message":"m"}', complaint("T", "m"))
        self.assertEqual(
            b'{"type":"T","message":"m","data":null}', complaint("T", "m", Raw(b"null"))
        )

    def test_endings_that_errors_make(self) -> None:
        """The type is the error's, and so are message and data."""
        self.assertEqual(Failed("network_error", "gone"), Failed.because(NetworkError("gone")))
        self.assertEqual(
            Failed("network_error", "gone", Raw(b"[1]")),
            Failed.because(NetworkError("gone", b"[1]")),
        )


class ErrorTableTests(SynchronousTestCase):
    """Errors and their types on the wire."""

    def test_each_type_has_one_error(self) -> None:
        """From type to class and back."""
        kinds = [
            kind for kind in WireError.__subclasses__() if kind.__module__ == WireError.__module__
        ]
        self.assertEqual(len(kinds), len(BY_WIRE_TYPE))
        for wire_type, kind in BY_WIRE_TYPE.items():
            error = kind("what", b"1")
            self.assertIsInstance(error, HarpcallerError)
            self.assertEqual((wire_type, "what", b"1"), (error.wire_type, str(error), error.data))
