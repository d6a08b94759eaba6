"""What is on disk: lines of jobs' files, whole files, the journal's entries, the hosts' cache."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from zlib import crc32

from harpcaller.facts import Recorded
from harpcaller.hosts.cache import Cache
from harpcaller.logs.events import EventLog
from harpcaller.store.anatomy import examine
from harpcaller.store.heads import head_line, head_serial, parse_head
from harpcaller.store.records import (
    PLACE_BYTES,
    BadLine,
    fact_line,
    parse_end,
    parse_record,
    parse_time,
    place,
)
from harpcaller.store.segments import (
    entry,
    header,
    parse_entry,
    parse_header,
    pruned_line,
    pruned_serial,
)
from tests.fuzz.target import Target, same

_JOB = b"8ec71d6b-28d1-4ce2-aa23-f3ea7887beda"
_HEAD = (
    b'{"harpcaller_job":1,"job":"%s","serial":7,"submit":1455282411.5,"client":"web","call":'
    b'{"host":"h","procedure":"p","arguments":[1],"timeout":1.5,"max_exec_time":2},'
    b'"queue":{"name":"q","concurrency":2},"info":null}\n' % _JOB
)
_FACTS = (
    b'{"start":1455282411.6}\n',
    b'{"resumable":1455282411.7}\n',
    b'{"packet":0,"time":1455282412.0,"data":[1]}\n',
    b'{"packet":1,"time":1455282412.1,"data":null}\n',
    b'{"end":1455282413.0,"result":3}\n',
    b'{"end":1455282413.0,"exception":{"type":"t","message":"m","data":1}}\n',
    b'{"end":1455282413.0,"error":{"type":"t","message":"m"}}\n',
    b'{"end":1455282413.0,"cancelled":true}\n',
)
_WORDS = (b"{", b"}", b'"', b",", b"\n", *(fact[:14] for fact in _FACTS), b"null", b"1e400", b"-1")


def records(data: bytes) -> None:
    """A line of a job's file."""
    with suppress(BadLine):
        _ = place(data[:PLACE_BYTES])
    _ = head_serial(data)
    with suppress(BadLine):
        _ = parse_time(data[:PLACE_BYTES])
    with suppress(BadLine):
        head = parse_head(data)
        line = head_line(head.job_id, head.serial, head.submitted)
        same(parse_head(line), head)
    with suppress(BadLine):
        record = parse_record(data)
        same(parse_record(fact_line(Recorded(record))), record)
    with suppress(BadLine):
        ended = parse_end(data)
        same(parse_end(fact_line(ended)), ended)


def files(data: bytes) -> None:
    """A whole file of a job; what can be kept of it is whole, and stays so by itself."""
    found = examine(lambda offset, size: data[offset : offset + size])
    if found.head is None:
        return
    kept = b"".join(data[offset : offset + length] for offset, length in found.kept)
    again = examine(lambda offset, size: kept[offset : offset + size])
    same((again.damaged, again.torn_at), (0, None))
    same((again.head, again.records, again.ended_at), (found.head, found.records, found.ended_at))


def journal(data: bytes) -> None:
    """An entry of the journal, with its own checksum and with the right one."""
    for text in (data, b"%08x %s" % (crc32(data + b"\n"), data)):
        found = parse_entry(text, len(text) + 1)
        if found is None:
            continue
        same(parse_entry(entry(found.job_id, found.offset, found.line)[:-1], found.end), found)
        serial = pruned_serial(found.line)
        if serial is not None:
            same(pruned_serial(pruned_line(serial)), serial)
        head = parse_header(found)
        if head is not None:
            again = parse_entry(header(head.number, head.serial, head.good)[:-1], 0)
            assert again is not None
            same(parse_header(again), head)


class _File:
    """A file of which a parser is told the path."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="harpcaller-fuzz-")
        self.path = Path(self._folder.name, "hosts.db")

    def hosts_cache(self, data: bytes) -> None:
        """The registry's file; one that is damaged is set aside, whatever is in it."""
        self.path.write_bytes(data)
        if Cache(self.path, EventLog("hosts")).read() is None:
            assert not self.path.exists()


TARGETS = (
    Target("store-records", records, (_HEAD, *_FACTS), _WORDS),
    Target(
        "store-files",
        files,
        (_HEAD, _HEAD + b"".join(_FACTS[:5]), _HEAD + _FACTS[7], _HEAD + _FACTS[2] + b"torn"),
        (*_WORDS, *_FACTS),
    ),
    Target(
        "store-journal",
        journal,
        (
            b"%s 120 %s" % (_JOB, _FACTS[0][:-1]),
            b'segment 7 {"harpcaller_journal":1,"serial":1234,"good":{"6":5120}}',
            b'%s 0 {"pruned":12}' % _JOB,
        ),
        (*_WORDS, b"segment ", b'"good":{'),
    ),
    Target(
        "hosts-cache",
        _File().hosts_cache,
        (
            b'{"hosts":1,"written":1795230961.1}\n{"hostname":"w","address":"a","port":1,'
            b'"credentials":{"user":"u","password":"p"}}\n',
            b'{"hosts":0,"written":1}\n',
        ),
        _WORDS,
    ),
)
