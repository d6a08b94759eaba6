"""An event becomes one line, whatever it holds."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import ILogObserver, Logger, LogLevel
from twisted.python.failure import Failure

from harpcaller.logs.entry import (
    MAX_CONTEXT,
    Entry,
    entry_of,
    journal_message,
    json_line,
    syslog_message,
    text_line,
    timestamp,
)
from harpcaller.wire.values import Raw, decode
from tests.house import HouseCase

#: 2026-11-21 03:16:01.123 UTC
AT = 1795230961.1235


def event(kind: str = "job.submitted", /, **context: object) -> dict[str, Any]:
    """An event as EventLog makes it."""
    return {
        "log_time": AT,
        "log_level": LogLevel.info,
        "log_namespace": "harpcaller.dispatcher",
        "log_format": "{kind} {context}",
        "kind": kind,
        "context": context,
    }


class Hostile:
    """A value that can't even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class Odd(dict[str, object]):
    """A dictionary that fails when it is read."""

    def items(self) -> Any:
        raise KeyError("odd")


class FormatTests(HouseCase):
    entry = entry_of(event(job="8ec71d6b", host="web01"))

    def test_text(self) -> None:
        """What an operator reads and greps."""
        self.assertEqual(
            b'2026-11-21T03:16:01.123Z info job.submitted {"job":"8ec71d6b","host":"web01"}\n',
            text_line(self.entry),
        )

    def test_json(self) -> None:
        """What a log collector reads."""
        self.assertEqual(
            {
                "time": "2026-11-21T03:16:01.123Z",
                "level": "info",
                "kind": "job.submitted",
                "context": {"job": "8ec71d6b", "host": "web01"},
            },
            decode(json_line(self.entry)),
        )

    def test_syslog(self) -> None:
        """Priority, local time, program and pid, as syslog(3) writes them."""
        message = syslog_message(self.entry, "harpcaller", 12).decode()
        self.assertRegex(message, r"^<30>[A-Z][a-z]{2} [ 0-9]\d \d\d:\d\d:\d\d harpcaller\[12\]: ")
        self.assertTrue(
            message.endswith('info job.submitted {"job":"8ec71d6b","host":"web01"}'), message
        )

    def test_syslog_priorities(self) -> None:
        """An alarm can go by them."""
        for level, priority in {"warn": 28, "error": 27, "critical": 26}.items():
            message = syslog_message(Entry(AT, level, "k", Raw(b"{}")), "p", 1)
            self.assertTrue(message.startswith(b"<%d>" % priority), message)

    def test_journal(self) -> None:
        """The job can be asked for: journalctl HARPCALLER_JOB=..."""
        self.assertEqual(
            "PRIORITY=6\nSYSLOG_IDENTIFIER=harpcaller\nHARPCALLER_KIND=job.submitted\n"
            'HARPCALLER_JOB=8ec71d6b\nMESSAGE=info job.submitted {"job":"8ec71d6b",'
            '"host":"web01"}\n',
            journal_message(self.entry, "harpcaller").decode(),
        )

    def test_journal_fields_cannot_be_forged(self) -> None:
        """A job's name with a newline stays one value."""
        message = journal_message(entry_of(event(job="a\nPRIORITY=0\ud800")), "p")
        self.assertEqual(5, message.count(b"\n"))
        self.assertNotIn(b"\nPRIORITY=0", message)

    def test_journal_without_job(self) -> None:
        """Not everything is about a job."""
        self.assertNotIn(b"JOB", journal_message(entry_of(event(job=7)), "p"))

    def test_milliseconds_are_cut_not_rounded(self) -> None:
        """No time lies in the future."""
        self.assertEqual("1970-01-01T00:00:59.999Z", timestamp(59.9999))
        self.assertEqual("1970-01-01T00:00:00.000Z", timestamp(0))


class EntryTests(HouseCase):
    def context(self, **context: object) -> Any:
        entry = entry_of(event(**context))
        self.assertEqual("job.submitted", entry.kind)
        return decode(entry.context)

    def test_values_without_a_json_form_become_text(self) -> None:
        """Logging is no place to be strict."""
        self.assertEqual(
            {"a": "{1}", "b": "caf\u00e9\\xff", "c": [1], "d": "nan"},
            self.context(a={1}, b=b"caf\xc3\xa9\xff", c=(1,), d=float("nan")),
        )

    def test_value_that_cannot_be_shown(self) -> None:
        """It is told what it is, and the rest of the event is there."""
        found = self.context(job="a", bad=Hostile())
        self.assertEqual("a", found["job"])
        self.assertIn("Hostile", found["bad"])

    def test_value_whose_code_fails(self) -> None:
        """The same for one that fails in another way."""
        entry = entry_of(event(bad=Odd(a=1), job="x"))
        self.assertIn(b"odd", entry.context)

    def test_nothing_breaks_the_line(self) -> None:
        """Newlines, terminal codes and Unicode's line ends come out escaped."""
        nasty = "\n\r\x1b[31m\x7f\x9b\u0085\u2028\u2029\u00e9"
        entry = entry_of(event(said=nasty))
        line = text_line(entry).decode()
        self.assertEqual(1, len(line.splitlines()))
        self.assertNotIn("\x9b", line)
        self.assertNotIn("\x7f", line)
        self.assertIn("\u00e9", line)
        self.assertEqual({"said": nasty}, decode(entry.context))

    def test_half_a_surrogate_pair(self) -> None:
        """What has no UTF-8 is escaped."""
        self.assertIn(b"\\ud800", entry_of(event(said="\ud800")).context)

    def test_long_values_are_cut(self) -> None:
        """A peer can't fill the disk with one line; the job's id is still there."""
        found = self.context(job="8ec7", said="x" * 10**6, many=[1] * 10**5, n=10**3000)
        self.assertEqual("8ec7", found["job"])
        self.assertEqual("x" * 1000 + "...", found["said"])
        self.assertTrue(found["many"].endswith("..."))

    def test_many_values_are_cut(self) -> None:
        """Nor with many values."""
        found = self.context(job="8ec7", **{f"key{n}": "x" * 1000 for n in range(100)})
        self.assertEqual("8ec7", found["job"])
        self.assertEqual(71, found["left_out"])

    def test_values_that_grow_when_written(self) -> None:
        """Escapes are counted too."""
        context = {f"key{n}": "\x01" * 10**4 for n in range(30)}
        self.assertEqual({"left_out": 30}, self.context(**context))

    def test_exception_shows_its_traceback_in_one_line(self) -> None:
        """The whole story of a bug is one grep away."""
        try:
            raise ValueError("what\nhappened")
        except ValueError:
            failure = Failure()
        entry = entry_of({**event(job="8ec7"), "log_failure": failure})
        found = decode(entry.context)
        self.assertEqual("8ec7", found["job"])
        self.assertIn("Traceback (most recent call last)", found["traceback"])
        self.assertIn("test_entry.py", found["traceback"])
        self.assertEqual(1, text_line(entry).count(b"\n"))

    def test_endless_recursion_has_a_beginning_and_an_end(self) -> None:
        """What matters of a long traceback is kept."""

        def fall(depth: int) -> int:
            return 1 // depth if depth == 0 else fall(depth - 1) + 1

        failure = Failure(self.assertRaises(ZeroDivisionError, fall, 300))
        entry = entry_of({**event(text="x" * MAX_CONTEXT), "log_failure": failure})
        found = decode(entry.context)
        self.assertIn("Traceback", found["traceback"])
        self.assertIn("ZeroDivisionError", found["traceback"])
        self.assertLess(len(found["traceback"]), 9000)

    def test_twisted_events_are_told_as_such(self) -> None:
        """What the library says has its text as context."""
        seen: list[dict[str, Any]] = []
        observer = cast(ILogObserver, seen.append)
        Logger(namespace="twisted.x", observer=observer).warn("{n}\nis {kind}", n=7, kind="odd")
        entry = entry_of(seen[0])
        self.assertEqual(("warn", "twisted"), (entry.level, entry.kind))
        self.assertEqual({"namespace": "twisted.x", "text": "7\nis odd"}, decode(entry.context))

    def test_bad_format_is_told_as_such(self) -> None:
        """An event with a mistake in its format is an event all the same."""
        entry = entry_of({"log_time": AT, "log_format": "{missing}", "log_level": LogLevel.info})
        self.assertEqual("twisted", entry.kind)
        self.assertIn(b"Unable to format event", entry.context)

    def test_event_that_makes_no_sense(self) -> None:
        """It is an error line, not an exception."""
        entry = entry_of({**event(), "log_level": "info"})
        self.assertEqual(("error", "log.unformattable"), (entry.level, entry.kind))
        self.assertIn("AttributeError", decode(entry.context)["why"])
        self.assertEqual(AT, entry.at)

    def test_event_without_a_time(self) -> None:
        """A line with an odd time is better than none."""
        for at in (None, "now", float("nan"), -1, 1e300):
            line = text_line(entry_of({**event(), "log_time": at}))
            self.assertTrue(line.startswith(b"1970-01-01T00:00:00.000Z info"), line)

    @given(
        st.dictionaries(
            st.text(max_size=80),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
                lambda inner: st.lists(inner) | st.dictionaries(st.integers() | st.text(), inner),
                max_leaves=5,
            ),
        )
    )
    def test_any_context_is_one_line_of_json(self, context: dict[str, object]) -> None:
        """No value that the daemon can meet breaks the log."""
        entry = entry_of({**event(), "context": context})
        self.assertEqual("job.submitted", entry.kind)
        for line in (text_line(entry), json_line(entry)):
            self.assertEqual(1, len(line.decode().splitlines()))
        self.assertIsInstance(decode(entry.context), dict)
