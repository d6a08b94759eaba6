"""Lines of the filler script become hosts, or reasons that give nothing away."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harpcaller.hosts.entries import (
    FEW,
    MAX_LINE,
    NotAnEntry,
    Printed,
    entry_line,
    parse_line,
    read_printed,
)
from harpcaller.interfaces import Host, HostTLS
from harpcaller.wire.agent import Credentials
from harpcaller.wire.values import encode
from tests.house import HouseCase

SECRET = "caixaudakuPus6yo"
WEB01 = Host("web01.example.net", "192.0.2.1", 4306, Credentials("rpc-system", SECRET))

ENTRY: dict[str, Any] = {
    "hostname": "web01.example.net",
    "address": "192.0.2.1",
    "port": 4306,
    "credentials": {"user": "rpc-system", "password": SECRET},
}

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
hosts = st.builds(
    Host,
    texts,
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
        lambda text: not any(character <= " " or character == "\x7f" for character in text)
    ),
    st.integers(1, 65535),
    st.builds(Credentials, st.text(st.characters(exclude_categories=["Cs"])), texts),
    st.builds(
        HostTLS,
        st.none() | st.binary(min_size=32, max_size=32).map(bytes.hex),
        st.none() | texts,
    ),
)


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in ENTRY.items() if name != key}


class LineTests(HouseCase):
    def reason(self, line: bytes) -> str:
        """Why a line is no entry; never with anything of its content."""
        reason = str(self.assertRaises(NotAnEntry, parse_line, line))
        self.assertNotIn(SECRET, reason)
        return reason

    def test_entry_of_the_manual(self) -> None:
        """What the manual shows is understood."""
        self.assertEqual(WEB01, parse_line(encode(ENTRY)))
        self.assertEqual(WEB01, parse_line(b" " + encode(ENTRY) + b" \r"))

    def test_further_keys_are_passed_over(self) -> None:
        """A script may tell more than we need."""
        self.assertEqual(WEB01, parse_line(encode({**ENTRY, "rack": [7]})))

    def test_password_is_not_shown(self) -> None:
        """Not even by accident, in a debugger's or a traceback's repr."""
        self.assertNotIn(SECRET, repr(WEB01))

    @given(hosts)
    def test_written_and_read_is_the_same(self, host: Host) -> None:
        """The cache gives back what it got."""
        self.assertEqual(host, parse_line(entry_line(host)))

    def test_certificates(self) -> None:
        """A fingerprint is as openssl writes it, or without its colons."""
        digits = "4f" * 32
        colons = ":".join(["4F"] * 32)
        for fingerprint in (digits, digits.upper(), colons):
            tls = {"fingerprint": f"sha256:{fingerprint}", "name": "db.internal"}
            found = parse_line(encode({**ENTRY, "tls": tls}))
            self.assertEqual(HostTLS(digits, "db.internal"), found.tls)
        self.assertEqual(HostTLS(), parse_line(encode({**ENTRY, "tls": {}})).tls)

    def test_certificates_that_are_not_understood(self) -> None:
        """A restriction with a mistake in it makes the host unknown, not unrestricted."""
        for tls in (
            None,
            "sha256",
            {"fingerprnt": f"sha256:{'0' * 64}"},
            {"fingerprint": "0" * 64},
            {"fingerprint": "sha1:" + "0" * 40},
            {"fingerprint": "sha256:" + "0" * 63},
            {"fingerprint": 5},
            {"name": ""},
            {"name": 5},
        ):
            line = encode({**ENTRY, "tls": tls})
            self.assertIn("tls", str(self.assertRaises(NotAnEntry, parse_line, line)))

    def test_what_is_not_an_object(self) -> None:
        """Comments, empty lines and broken JSON are no entries."""
        for line in (
            b"",
            b"# comment",
            b"[]",
            b'"x"',
            b"{",
            b'{"a":1,"a":2}',
            b"\xff",
            b"[" * 1000,
            SECRET.encode(),
            encode({SECRET: 1})[:-1] + b',"' + SECRET.encode() + b'":1}',
        ):
            self.assertEqual("not a JSON object", self.reason(line))

    def test_missing_fields(self) -> None:
        """The reason names the field."""
        for key in ENTRY:
            self.assertEqual(f"{key}: missing", self.reason(encode(without(key))))
        for key in ("user", "password"):
            credentials = {"user": "u", "password": SECRET}
            del credentials[key]
            line = encode({**ENTRY, "credentials": credentials})
            self.assertEqual(f"credentials.{key}: missing", self.reason(line))

    def test_fields_of_the_wrong_kind(self) -> None:
        """The reason names the field and what is expected, not what was found."""
        cases: list[tuple[dict[str, Any], str]] = [
            ({"port": "4306"}, "port: expected an integer from 1 to 65535"),
            ({"port": True}, "port: expected an integer from 1 to 65535"),
            ({"port": 0}, "port: expected an integer from 1 to 65535"),
            ({"port": 65536}, "port: expected an integer from 1 to 65535"),
            ({"port": 1.0}, "port: expected an integer from 1 to 65535"),
            ({"hostname": ""}, "hostname: expected a string that isn't empty"),
            ({"hostname": None}, "hostname: expected a string"),
            ({"hostname": "\ud800"}, "hostname: expected a string"),
            ({"address": ""}, "address: expected a string that isn't empty"),
            ({"address": "a b"}, "address: expected a host name or an IP address"),
            ({"address": "a\x00"}, "address: expected a host name or an IP address"),
            ({"credentials": SECRET}, "credentials: expected an object"),
            (
                {"credentials": {"user": "u", "password": [SECRET]}},
                "credentials.password: expected a string",
            ),
        ]
        for change, reason in cases:
            self.assertEqual(reason, self.reason(encode({**ENTRY, **change})))

    def test_line_too_long(self) -> None:
        """It isn't even looked at."""
        line = encode({**ENTRY, "more": "x" * MAX_LINE})
        self.assertEqual(f"longer than {MAX_LINE} bytes", self.reason(line))

    @given(
        st.binary(max_size=50)
        | st.recursive(
            st.none() | st.integers() | st.text(),
            lambda inner: st.dictionaries(st.sampled_from(list(ENTRY)) | st.text(), inner),
        ).map(encode)
    )
    def test_any_line_is_an_entry_or_has_a_reason(self, line: bytes) -> None:
        """No line can end a run with a bug."""
        with contextlib.suppress(NotAnEntry):
            parse_line(line)


class PrintedTests(HouseCase):
    def printed(self, output: bytes) -> Printed:
        printed = Printed()
        for _ in read_printed(output, printed):
            pass
        return printed

    def test_last_of_a_duplicate_wins(self) -> None:
        """Scripts that join two sources can rely on it."""
        moved = encode({**ENTRY, "port": 1})
        printed = self.printed(encode(ENTRY) + b"\n" + moved)
        self.assertEqual([1], [host.port for host in printed.hosts.values()])

    def test_other_lines_are_counted_and_the_first_few_explained(self) -> None:
        """The operator sees how many and where to look."""
        output = b"# head\n" + encode(ENTRY) + b"\n" + b"[]\n" * 100
        printed = self.printed(output)
        self.assertEqual(101, printed.ignored)
        self.assertEqual(FEW, len(printed.reasons))
        self.assertEqual("line 1: not a JSON object", printed.reasons[0])
        self.assertEqual("line 3: not a JSON object", printed.reasons[1])
        self.assertEqual(["web01.example.net"], list(printed.hosts))

    def test_nothing_printed_is_no_hosts(self) -> None:
        """An empty registry is a registry."""
        self.assertEqual(Printed(), self.printed(b""))

    def test_endless_line_is_one_ignored_line(self) -> None:
        """It costs neither time nor memory, and what follows is read."""
        printed = self.printed(b"x" * (5 * MAX_LINE) + b"\n" + encode(ENTRY))
        self.assertEqual((1, 1), (printed.ignored, len(printed.hosts)))
        self.assertEqual([f"line 1: longer than {MAX_LINE} bytes"], printed.reasons)
