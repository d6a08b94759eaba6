"""The control socket's commands and answers, as bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.errors import InvalidJobId, InvalidRequest, ProtocolError
from harpcaller.wire import control
from harpcaller.wire.client import JobId
from harpcaller.wire.client_answers import JobStatus
from harpcaller.wire.control import (
    COMMANDS,
    Command,
    ConfigRejected,
    QueueName,
    decode_command,
    encode_command,
    fields_of,
)
from harpcaller.wire.control_answers import (
    Closing,
    DaemonStatus,
    Done,
    ListedHost,
    ListedJob,
    ListedQueue,
    Refusal,
    UnreadableJob,
    decode_line,
    encode_answer,
    encode_item,
    encode_refusal,
    encode_short_item,
)
from harpcaller.wire.values import NULL, Raw, check, decode, encode

JOB = JobId("9e03ca7a-bdcb-4bc1-8a56-0f17b310a556")

_names = st.dictionaries(st.text(max_size=5), st.none() | st.integers(0, 9) | st.text(max_size=5))
_values: dict[object, st.SearchStrategy[object]] = {
    bool: st.booleans(),
    float: st.floats(0, 1e12, allow_nan=False),
    JobId: st.text(st.characters(exclude_categories=["Cs"])),
    QueueName: _names.map(encode),
}


def _some(command: type[Command]) -> st.SearchStrategy[Command]:
    return st.builds(command, **{f.name: _values[f.kind] for f in fields_of(command)})


commands = st.one_of([_some(command) for command in COMMANDS.values()])


def status(
    arguments: bytes = b"[1]", queue: bytes | None = None, host: str = "web01", ended: bool = False
) -> JobStatus:
    return JobStatus(
        host,
        "some.procedure",
        Raw(arguments),
        1455282411.5,
        1455282412.0,
        1455282413.9 if ended else None,
        NULL,
        None if queue is None else Raw(queue),
    )


class CommandTests(SynchronousTestCase):
    def refusal(self, line: bytes) -> str:
        return str(self.assertRaises(InvalidRequest, decode_command, line))

    @given(commands)
    def test_comes_back_as_it_went(self, command: Command) -> None:
        """What one side asks is what the other understands."""
        line = encode_command(command)
        self.assertEqual(1, line.count(b"\n"))
        self.assertEqual(command, decode_command(line))

    @given(
        st.binary(max_size=60)
        | st.text(max_size=60).map(lambda text: b'{"command":%s}' % encode(text))
    )
    def test_nonsense_is_refused_and_nothing_else(self, line: bytes) -> None:
        """Whatever is sent is a command or a refusal."""
        try:
            decode_command(line)
        except InvalidRequest as error:
            self.assertTrue(error.message)

    def test_every_command_of_the_protocol_is_there(self) -> None:
        """The page on the protocol lists these."""
        self.assertEqual(
            {"status", "stop", "reload_config", "prune_jobs", "reopen_logs"}
            | {"list_jobs", "job_info", "cancel_job"}
            | {"list_queues", "list_queue", "cancel_queue"}
            | {"list_hosts", "refresh_hosts", "dist_start", "dist_stop"},
            set(COMMANDS),
        )

    def test_defaults_may_be_left_out(self) -> None:
        """A script writes only what it means."""
        self.assertEqual(control.ListJobs(), decode_command(b'{"command":"list_jobs"}'))
        self.assertEqual(b'{"command":"list_jobs"}\n', encode_command(control.ListJobs()))
        self.assertEqual(
            b'{"command":"list_jobs","all":true}\n', encode_command(control.ListJobs(all=True))
        )

    def test_no_command_is_named(self) -> None:
        """An object without a command is told what it lacks."""
        self.assertIn("command: missing; expected one of status,", self.refusal(b"{}"))

    def test_unknown_command_is_named(self) -> None:
        """A misspelt command is quoted, and the right ones are listed."""
        message = self.refusal(b'{"command":"list_job"}')
        self.assertIn('command: "list_job" isn\'t known; expected one of status,', message)

    def test_a_long_unknown_name_is_cut(self) -> None:
        """An answer doesn't grow with the question."""
        self.assertTrue(len(self.refusal(b'{"command":"%s"}' % (b"x" * 5000))) < 500)

    def test_unknown_field_is_named(self) -> None:
        """A misspelt field is named, with the command that doesn't have it."""
        self.assertEqual(
            "al: unknown field of list_jobs", self.refusal(b'{"command":"list_jobs","al":true}')
        )

    def test_missing_field_is_named(self) -> None:
        """A field that has no default has to be there."""
        self.assertEqual("job: missing from job_info", self.refusal(b'{"command":"job_info"}'))

    def test_ill_typed_fields_are_named(self) -> None:
        """Every kind of field says what it expected."""
        for line, message in (
            (b'{"command":"list_jobs","all":1}', "all: expected true or false, got 1"),
            (b'{"command":"job_info","job":7}', "job: expected a string, got 7"),
            (b'{"command":7}', "command: expected a string, got 7"),
            (
                b'{"command":"prune_jobs","max_age":"1"}',
                'max_age: expected a number of seconds, not negative, got "1"',
            ),
            (b'{"command":"list_queue","queue":"q"}', "queue: expected an object, got a string"),
            (b"[]", "expected a JSON object"),
        ):
            self.assertEqual(message, self.refusal(line))

    def test_age_is_not_negative(self) -> None:
        """Nothing ends in the future; zero is any job that has ended."""
        self.assertIn("max_age", self.refusal(b'{"command":"prune_jobs","max_age":-1}'))
        self.assertEqual(
            control.PruneJobs(0.0), decode_command(b'{"command":"prune_jobs","max_age":0}')
        )


class AnswerTests(SynchronousTestCase):
    def test_done_is_ok(self) -> None:
        """The plainest answer."""
        self.assertEqual(b'{"result":"ok"}\n', encode_answer(Done()))
        self.assertEqual(Closing({}), decode_line(b'{"result":"ok"}'))

    def test_what_there_is_to_say_stands_beside_ok(self) -> None:
        """A stop's answer has the process id, and so on."""
        line = encode_answer(DaemonStatus("running", 12))
        self.assertEqual(b'{"result":"ok","status":"running","pid":12}\n', line)
        self.assertEqual(
            Closing({"status": Raw(b'"running"'), "pid": Raw(b"12")}), decode_line(line)
        )

    def test_refusal_has_type_and_message(self) -> None:
        """Scripts look at the type, people at the message."""
        line = encode_refusal(InvalidJobId("no job with this id"))
        self.assertEqual(
            b'{"result":"error","type":"invalid_jobid","message":"no job with this id"}\n', line
        )
        self.assertEqual(Refusal("invalid_jobid", "no job with this id"), decode_line(line))

    def test_problems_come_one_by_one(self) -> None:
        """A configuration's mistakes can be told apart."""
        line = encode_refusal(ConfigRejected("a; b", ["a", "b"]))
        self.assertEqual(Refusal("config_rejected", "a; b", ("a", "b")), decode_line(line))

    def test_plain_error_is_understood(self) -> None:
        """A daemon need not tell more than that it went wrong."""
        self.assertEqual(Refusal("", ""), decode_line(b'{"result":"error"}'))

    def test_item_of_another_version_is_passed_on(self) -> None:
        """Where the word stands inside, the line is looked at closely."""
        self.assertIsNone(decode_line(b'{"job":"x","call":{"result":1}}'))

    def test_items_are_no_closing_lines(self) -> None:
        """A list goes on until its closing line, whatever words stand in it."""
        for item in (
            ListedQueue(Raw(b'{"result":"ok"}')),
            ListedJob(JOB, status(b'[{"result":"error"}]')),
            ListedHost("result", "::1", 4306),
        ):
            self.assertIsNone(decode_line(encode_item(item)))

    def test_other_answers_are_named_as_such(self) -> None:
        """Something else listens there."""
        for line in (
            b"HTTP/1.1 400",
            b'{"result":"maybe"}',
            b'{"result":1}',
            b"",
            b'{"result":"error","problems":1}',
        ):
            self.assertRaises(ProtocolError, decode_line, line)


class ItemTests(SynchronousTestCase):
    def test_job_is_as_the_manual_shows(self) -> None:
        """The keys that scripts rely on, times in whole seconds."""
        self.assertEqual(
            {
                "job": JOB,
                "call": {"host": "web01", "procedure": "some.procedure", "arguments": [1]},
                "time": {"submit": 1455282411, "start": 1455282412, "end": None},
            },
            decode(encode_item(ListedJob(JOB, status()))),
        )

    def test_queue_is_shown_on_demand(self) -> None:
        """A job without a queue has null for it."""
        shown = decode(encode_item(ListedJob(JOB, status(queue=b'{"a":1}'), with_queue=True)))
        self.assertEqual({"a": 1}, shown["queue"])
        self.assertIsNone(decode(encode_item(ListedJob(JOB, status(), with_queue=True)))["queue"])

    def test_host_has_no_credentials(self) -> None:
        """What the manual shows, and nothing more."""
        self.assertEqual(
            b'{"hostname":"web01","address":"10.0.0.1","port":4306}',
            encode_item(ListedHost("web01", "10.0.0.1", 4306)),
        )

    def test_unreadable_job_says_why(self) -> None:
        """A damaged job has its line, too."""
        self.assertEqual(
            {"job": JOB, "error": {"type": "storage_error", "message": "damaged"}},
            decode(encode_item(UnreadableJob(JOB, "storage_error", "damaged"))),
        )

    def test_short_item_loses_what_is_long(self) -> None:
        """Arguments of a megabyte are left out, and the item says so."""
        job = ListedJob(JOB, status(b'["%s"]' % (b"x" * 9999), b'{"q":"%s"}' % (b"y" * 9999)), True)
        shown = decode(encode_short_item(job))
        self.assertEqual(["arguments", "queue"], shown["cut"])
        self.assertEqual("some.procedure", shown["call"]["procedure"])
        self.assertIsNone(shown["call"]["arguments"])
        self.assertIsNone(shown["queue"])

    def test_short_item_is_short_at_worst(self) -> None:
        """Whatever a client made up, the item fits an AMP value."""
        job = ListedJob(
            JOB,
            status(b'["%s"]' % (b"x" * 4000), b'{"q":"%s"}' % (b"y" * 4000), "\x00" * 682),
            True,
        )
        text = encode_short_item(job)
        self.assertTrue(len(text) < 65000)
        self.assertEqual([], decode(text)["cut"])
        queue = encode_short_item(ListedQueue(Raw(b'{"q":"%s"}' % (b"y" * 99999))))
        self.assertEqual({"queue": None, "cut": ["queue"]}, decode(check(queue)))
