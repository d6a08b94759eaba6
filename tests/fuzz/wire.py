"""What comes over networks: lines, values, and each message of each protocol."""

from __future__ import annotations

from contextlib import suppress

from harpcaller.errors import ProtocolError, WireError
from harpcaller.hosts.entries import NotAnEntry, Printed, entry_line, parse_line, read_printed
from harpcaller.wire import agent, client, client_answers, control, control_answers
from harpcaller.wire.client import FollowStream, GetResult, GetStatus, JobId, ReadStream
from harpcaller.wire.conversation import Cancelling, Conversation, Listing
from harpcaller.wire.lines import LineBuffer, LineTooLong
from harpcaller.wire.registry import ListHosts, ListProceduresOf
from harpcaller.wire.values import (
    NotJSON,
    Raw,
    canonical,
    check,
    decode,
    encode,
    indented,
    members,
)
from tests.fuzz.target import Target, pieces, same

JOB = b"8ec71d6b-28d1-4ce2-aa23-f3ea7887beda"
_JSON = (
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b":",
    b",",
    b"null",
    b"true",
    b"1e9",
    b"-0",
    b"\\u",
    b"\\ud800",
)
_CALL = (
    b'{"harpcaller":1,"host":"web01","procedure":"p","arguments":[1],"timeout":5,'
    b'"max_exec_time":9.5,"queue":{"name":"q","concurrency":2},"info":{"a":null},'
    b'"auth":{"token":"x"}}'
)
_REQUESTS = (
    client.Call("web01", "p", Raw(b"[]")),
    GetResult(JobId(JOB.decode()), True),
    GetStatus(JobId(JOB.decode())),
    client.Cancel(JobId(JOB.decode())),
    FollowStream(JobId(JOB.decode())),
    ReadStream(JobId(JOB.decode())),
    ListHosts(),
    ListProceduresOf("web01"),
)


def lines(data: bytes) -> None:
    """However they come, the lines are the same, until one is too long."""
    limit = 1 + (data[0] if data else 0)
    expected: list[bytes] = []
    for line in data[1:].split(b"\n")[:-1]:
        if len(line) > limit:
            break
        expected.append(line)
    buffer, found = LineBuffer(limit), []
    with suppress(LineTooLong):
        for piece in pieces(data[1:]):
            buffer.feed(piece)
            while (taken := buffer.next_line()) is not None:
                found.append(taken)
        same(found, expected)
    same(found, expected)


def values(data: bytes) -> None:
    """JSON is read the same by all that read it, and written as it was."""
    try:
        value = decode(data)
    except NotJSON as error:
        for read in (check, canonical, members):
            with suppress(NotJSON):
                _ = read(data)
                # They make no values, so they take any number of digits, and look at the keys of
                # the outermost object only, or at none.
                same(str(error).endswith(("has too many digits", "stands twice")), True)
        return
    try:
        same(decode(encode(value)), value)
    except NotJSON:
        # An exponent of three digits is more than Python's numbers have.
        same(b"e" in data or b"E" in data, True)
    checked = check(data)
    same(decode(checked), value)
    with suppress(NotJSON):  # an exponent of more than twenty digits
        same(canonical(checked), canonical(data))
    same(checked.count(b"\n"), 0)
    same(decode(indented(checked).encode("utf-8", "surrogatepass")), value)
    if isinstance(value, dict):
        same({key: decode(raw) for key, raw in members(data).items()}, value)


def client_requests(data: bytes) -> None:
    """A client's request."""
    with suppress(WireError):
        request, token = client.decode_signed(data)
        same(client.decode_signed(client.encode_request(request, token)), (request, token))


def client_answers_(data: bytes) -> None:
    """A dispatcher's answer, to whatever was asked."""
    for request in _REQUESTS:
        with suppress(ProtocolError):
            answer = client_answers.decode_answer(data, request)
            if isinstance(answer, client_answers.Record) and answer.time is not None:
                line = client_answers.encode_record(answer)
                same(client_answers.decode_answer(line, request), answer)


def agent_requests(data: bytes) -> None:
    """A dispatcher's request to an agent."""
    with suppress(WireError):
        request = agent.decode_request(data)
        if isinstance(request, agent.ProcedureCall):
            line = agent.encode_request(request)
        elif isinstance(request, agent.ListProcedures):
            line = agent.encode_list_request(request)
        elif isinstance(request, agent.Attach):
            line = agent.encode_attach(request)
        else:
            line = agent.encode_cancel(request)
        same(agent.decode_request(line), request)


def agent_messages(data: bytes) -> None:
    """What an agent says: each line by itself, and all of them as a conversation."""
    with suppress(ProtocolError):
        message = agent.decode_message(data)
        same(agent.decode_message(agent.encode_message(message)), message)
    with suppress(ProtocolError):
        listed = Listing().heard(data)
        if isinstance(listed, agent.ProcedureList):
            same(agent.decode_procedures(agent.encode_procedures(listed)), listed)
    with suppress(ProtocolError):
        _ = Cancelling().heard(data)
    for since in (None, 0):
        talk = Conversation(since)
        with suppress(ProtocolError):
            for line in data.split(b"\n"):
                _ = talk.heard(line)
        _ = talk.closed()


def control_commands(data: bytes) -> None:
    """An operator's command."""
    with suppress(WireError):
        command = control.decode_command(data)
        same(control.decode_command(control.encode_command(command)), command)


def control_answers_(data: bytes) -> None:
    """A line of what an operator is answered."""
    with suppress(ProtocolError):
        _ = control_answers.decode_line(data)


def hosts(data: bytes) -> None:
    """What the filler script prints."""
    with suppress(NotAnEntry):
        host = parse_line(data)
        same(parse_line(entry_line(host)), host)
    printed = Printed()
    for _ in read_printed(data, printed):
        pass


TARGETS = (
    Target("lines", lines, (b"\x05abc\n\nabcdef\nabcdefgh\n",), (b"\n",)),
    Target(
        "values",
        values,
        (b'{"a":[1,-2.50e+3,"\\ud83d\\ude00\\n"],"b":{"c":null},"d":true}', b" [[[]]] ", b"12"),
        _JSON,
    ),
    Target(
        "client-requests",
        client_requests,
        (
            _CALL,
            *(
                b'{"harpcaller":1,"%s":"%s"%s}' % (operation, JOB, more)
                for operation, more in (
                    (b"get_result", b',"wait":false'),
                    (b"get_status", b""),
                    (b"cancel", b""),
                    (b"follow_stream", b',"since":3'),
                    (b"read_stream", b',"recent":3'),
                )
            ),
            b'{"harpcaller":1,"list_hosts":true}',
            b'{"harpcaller":1,"list_procedures":"web01"}',
        ),
        (*_JSON, b'"auth"', b'"token"', b'"wait"', b'"since"', b'"recent"', b'"queue"', b'"info"'),
    ),
    Target(
        "client-answers",
        client_answers_,
        (
            b'{"harpcaller":1,"job_id":"%s"}' % JOB,
            b'{"result":[1]}',
            b'{"exception":{"type":"ValueError","message":"m","data":1}}',
            b'{"error":{"type":"timeout","message":"m"}}',
            b'{"cancelled":true}',
            b'{"no_result":true}',
            b'{"continue":true}',
            b'{"packet":0,"data":"x","time":1455282412.0}',
            b'{"hosts":["web01"]}',
            b'{"procedures":[{"name":"p","arguments":"(a)","doc":"d","streaming":true}]}',
            b'{"call":{"host":"h","procedure":"p","arguments":[]},"time":{"submit":1,"start":2,'
            b'"end":null},"info":null,"queue":"q","state":"ended","time_ms":{"submit":1500}}',
        ),
        _JSON,
    ),
    Target(
        "agent-requests",
        agent_requests,
        tuple(
            b'{"harp":1,%s,"auth":{"user":"u","password":"p"}}' % what
            for what in (
                b'"procedure":"p","arguments":[1]',
                b'"procedure":"p","arguments":{"a":1},"job":"j"',
                b'"list":true',
                b'"attach":"j","since":3',
                b'"cancel":"j"',
            )
        ),
        _JSON,
    ),
    Target(
        "agent-messages",
        agent_messages,
        (
            b'{"harp":1,"stream_result":true,"resume":true}\n{"stream":1,"n":0}\n{"result":2}',
            b'{"harp":1,"stream_result":false}\n{"exception":{"type":"t","message":"m"}}',
            b'{"harp":1,"error":{"type":"t","message":"m","data":[]}}',
            b'{"harp":1,"procedures":[{"name":"p","arguments":"()","doc":"","streaming":false}]}',
            b'{"harp":1,"cancelled":true}',
        ),
        (*_JSON, b'{"stream":', b"\n"),
    ),
    Target(
        "control-commands",
        control_commands,
        (
            b'{"command":"status","wait":true}',
            b'{"command":"prune_jobs","max_age":3600.5}',
            b'{"command":"list_jobs","all":true,"queue":true}',
            b'{"command":"cancel_job","job":"%s"}' % JOB,
            b'{"command":"cancel_queue","queue":{"a":[1]}}',
        ),
        (*_JSON, b'"job"', b'"queue"', *(b'"%s"' % word.encode() for word in control.COMMANDS)),
    ),
    Target(
        "control-answers",
        control_answers_,
        (
            b'{"result":"ok","pid":1}',
            b'{"result":"error","type":"t","message":"m","problems":["a"]}',
            b'{"job":"x"}',
        ),
        _JSON,
    ),
    Target(
        "hosts",
        hosts,
        (
            b'{"hostname":"web01","address":"192.0.2.1","port":4306,"credentials":{"user":"u",'
            b'"password":"p"},"tls":{"fingerprint":"sha256:%s","name":"n"}}' % (b"0a" * 32),
            b'{"hostname":"web02","address":"::1","port":1,"credentials":{"user":"","password":""}}\n\n{}',
        ),
        _JSON,
    ),
)
