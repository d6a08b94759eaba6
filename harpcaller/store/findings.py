"""What a check of a store can find: each kind of damage, and what is done about it.  Pure."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from harpcaller.wire.values import Raw, build, encode

#: Where a repair puts what it takes away, inside the store's directory.
DAMAGED = "damaged"


@attrs.frozen
class Finding:
    """One thing that isn't as it should be.

    Attributes:
        kind: One of :data:`KINDS`.
        path: Where, relative to the store's directory.
        detail: What was found there.
        job: Whose it is, empty if it is no job's or that isn't known.
        target: For something misplaced: the path where it belongs.
        at: Where in the file, in bytes.
        until: How much of the file can be believed at most, in bytes; None for all.
    """

    kind: str
    path: str
    detail: str
    job: str = ""
    target: str = ""
    at: int = 0
    until: int | None = None


#: What a repair does about each kind.
KINDS: Mapping[str, str] = {
    # What lies around.
    "stray": "moves it to damaged/",
    "misplaced": "moves it to where it belongs, or to damaged/ if something is there",
    "not_a_file": "moves it to damaged/",
    "empty_directory": "removes it",
    "permissions": "sets mode and owner",
    "unreadable": "gives the owner the right to read it, if that is what is amiss",
    # Jobs' files.
    "newer_format": "leaves everything alone: a newer harpcallerd wrote this store",
    "headless": "moves the file to damaged/; if a client was told of this job, it is lost",
    "torn_line": "keeps the piece in damaged/ and cuts it off",
    "damaged_lines": "keeps the file in damaged/ and makes one of the lines that are whole",
    "records_missing": "keeps the file in damaged/; the other records can be read as before",
    "no_end": "ends the job with missing_result: how it ended isn't known, and it isn't run again",
    "serial_twice": "gives the job the next free number",
    "missing_file": "takes it off the list: the job is lost",
    # The journal.
    "journal_missing": "begins a new one; every job without an end is taken up again",
    "list_damaged": "keeps it in damaged/; an older list, or a look at every job, replaces it",
    "segment_damaged": "keeps it in damaged/ and makes one of the entries that are whole",
    "segment_unknown": "moves it to damaged/",
    "disagrees": "believes the journal, which has checksums, and keeps the file in damaged/",
    "gap": "keeps the journal's segments in damaged/; what follows the gap can't be placed",
    # The index.
    "index_missing": "makes it anew",
    "index_damaged": "makes it anew",
    "index_foreign": "makes it anew",
    "index_incomplete": "makes it anew",
    "index_lacks_job": "makes the index anew",
    "index_differs": "makes the index anew",
    "index_has_no_file": "makes the index anew",
}

#: Kinds that a repair doesn't touch, nor anything else where they are found.
HANDS_OFF = frozenset({"newer_format"})


def as_text(finding: Finding) -> str:
    """Write a finding as a line for people."""
    kind = finding.kind.replace("_", " ")
    return f"{shown(finding.path)}: {kind}: {finding.detail}; --repair {KINDS[finding.kind]}"


def as_json(finding: Finding, repaired: bool | None = None, reason: str = "") -> bytes:
    """Write a finding as a line for programs; ``repaired`` is left out if it wasn't tried."""
    fields = {
        "kind": encode(finding.kind),
        "path": encode(shown(finding.path)),
        "job": encode(finding.job or None),
        "detail": encode(finding.detail),
        "repair": encode(KINDS[finding.kind]),
    }
    if repaired is not None:
        fields["repaired"] = encode(repaired)
        fields["reason"] = encode(reason or None)
    return build(fields)


def shown(name: str) -> str:
    """Write a file's name so that it can be printed: it may be anything but a slash and a NUL."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    )


def summary_as_json(jobs: int, findings: int, remaining: int | None = None) -> Raw:
    """Write the last line for programs; ``remaining`` is left out if no repair was tried."""
    fields = {"jobs": encode(jobs), "findings": encode(findings)}
    if remaining is not None:
        fields["remaining"] = encode(remaining)
    return build(fields)
