"""What the system that this one re-implements got wrong, and this one must not.

Its behaviour was measured; each test names it, and shows the opposite.
"""

from __future__ import annotations

from tests.listener.world import CALL, DONE, NOBODY, ListenerCase, request


class ErrorReplyTests(ListenerCase):
    """There, whatever was wrong with a request, the connection was closed without a byte."""

    def test_bad_requests_are_answered(self) -> None:
        """Each gets a line that says what is wrong, and the log has it."""
        for line in (
            b"not JSON",
            b"[]",
            b'{"cancel":"x"}',
            CALL[:-2] + b',"unknown":1}',
            b'{"harpcaller":1,"cancel":"x","get_status":"x"}',
            b'{"harpcaller":1,"read_stream":"x","since":-1}',
            b'{"harpcaller":1,"follow_stream":"x","since":null}',
        ):
            log = self.log()
            self.assertEqual("invalid_request", self.error(self.ask(line + b"\n")), line)
            self.assertEqual(["client.refused"], [kind for kind, _ in log])

    def test_streams_of_unknown_jobs_are_answered(self) -> None:
        """There, ``follow_stream`` and ``read_stream`` of an unknown id closed in silence."""
        for operation in ("follow_stream", "read_stream"):
            self.assertEqual("invalid_jobid", self.error(self.ask(request(operation, NOBODY))))

    def test_types_are_checked_at_the_door(self) -> None:
        """There, a host of 5 or a timeout of null became a job; 0 ended it at once."""
        for field in (
            b'"timeout":0',
            b'"timeout":-1',
            b'"timeout":null',
            b'"timeout":"5"',
            b'"timeout":true',
            b'"max_exec_time":"x"',
            b'"queue":{"name":{},"concurrency":null}',
            b'"queue":{"name":{},"concurrency":"2"}',
            b'"queue":{"name":{},"concurrency":-1}',
        ):
            answers = self.ask(CALL[:-2] + b"," + field + b"}\n")
            self.assertEqual("invalid_request", self.error(answers), field)
        for line in (
            CALL.replace(b'"web01"', b"5"),
            CALL.replace(b'"web01"', b"null"),
            CALL.replace(b"[]", b'"x"'),
        ):
            self.assertEqual("invalid_request", self.error(self.ask(line)), line)
        self.assertEqual([], self.dispatcher.submitted)

    def test_half_close_without_newline_is_answered(self) -> None:
        """There, closed without a reply; and without the half-close, waited for for ever."""
        client = self.client()
        client.send(CALL[:-1])
        client.half_close()
        self.assertEqual("invalid_request", self.error(client.lines()))

    def test_too_long_a_line_is_answered(self) -> None:
        """There, cut at 1 MiB and reset without a reply."""
        self.assertEqual("request_too_large", self.error(self.ask(b"x" * (1024 * 1024 + 1))))


class WaitTests(ListenerCase):
    """There, ``wait`` absent meant false, whatever its manual said."""

    def test_wait_absent_is_true(self) -> None:
        """The answer comes with the end."""
        job = self.job()
        client = self.client()
        client.send(request("get_result", job))
        self.assertEqual([], client.lines())
        self.dispatcher.end(job, DONE)
        self.assertEqual([{"result": "done"}], client.lines())


class ManyRequestsTests(ListenerCase):
    """There, bytes after the first line were never read."""

    def test_second_line_is_answered(self) -> None:
        """Both requests of one write are carried out."""
        self.assertEqual(2, len(self.ask(CALL + CALL)))


class ValueTests(ListenerCase):
    """There, emoji crashed the decoder, and numbers came back as others."""

    def test_surrogate_pairs(self) -> None:
        """What Python's json writes for an emoji is carried as it came."""
        emoji = b'["\\ud83d\\ude00", "\xf0\x9f\x98\x80", "a\\/b"]'
        self.ask(CALL.replace(b"[]", emoji))
        self.assertEqual(emoji, self.dispatcher.submitted[0].call.arguments)

    def test_numbers(self) -> None:
        """``1e5`` is a number, and 1.5 doesn't become 1.50000000000000000000e+00."""
        numbers = b"[1e5, 1.5, 0.10, -0, 12345678901234567890123, 1E-400]"
        (answer,) = self.ask(CALL.replace(b"[]", numbers))
        client = self.client()
        client.send(request("get_status", answer["job_id"]))
        self.assertIn(b'"arguments":' + numbers, client.text())
