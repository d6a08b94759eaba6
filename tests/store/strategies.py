"""Hypothesis: any job that the wire lets in."""

from __future__ import annotations

from hypothesis import strategies as st

from harpcaller.interfaces import Ended, Recorded, Resumable, Started, Submitted
from harpcaller.wire.client import Call, QueueSpec
from harpcaller.wire.client_answers import Record
from harpcaller.wire.ending import Cancelled, Failed, Raised, Returned
from harpcaller.wire.values import Raw, encode

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_odd = st.sampled_from(
    [b"1e5", b"1.50", b"-0", b"[ 1 ,\t2]", b'{"a":1,"a":2}', b'"\\ud800"', b"9" * 40, b"[[[]]]"]
).map(Raw)
_plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
).map(encode)
values = _odd | _plain
times = st.floats(0, 1e11)
_seconds = st.floats(1e-3, 1e9) | st.integers(1, 10**9)
_names = st.dictionaries(text, st.integers() | text, max_size=3).map(encode)
queues = st.builds(QueueSpec, _names, st.integers(1, 10**6))
calls = st.builds(
    Call,
    host=text,
    procedure=text,
    arguments=st.lists(st.integers(), max_size=3).map(encode) | st.just(Raw(b'{"x" : 1e3}')),
    timeout=st.none() | _seconds,
    max_exec_time=st.none() | _seconds,
    queue=st.none() | queues,
    info=values,
)
endings = st.one_of(
    st.builds(Returned, values),
    st.builds(Raised, text, text, st.none() | values),
    st.builds(Failed, text, text, st.none() | values),
    st.just(Cancelled()),
)
submitted = st.builds(Submitted, calls, times)
started = st.builds(Started, times)
resumable = st.builds(Resumable, times)
records = st.builds(Record, st.integers(0, 2**60), values, times)
recorded = st.builds(Recorded, records)
ended = st.builds(Ended, endings, times)
