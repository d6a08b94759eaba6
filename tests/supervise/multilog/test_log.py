"""A whole script, fed with bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harpcaller.supervise.multilog.selector import Selection
from harpcaller.supervise.tai64n.labels import label
from tests.supervise.multilog.test_directory import DirectoryCase
from tests.supervise.multilog.test_selector import read


class ActionTests(DirectoryCase):
    """What becomes of lines."""

    def test_directories(self) -> None:
        """Each directory gets the lines that are selected when its turn comes."""
        log = self.desk.log("-b* ./a -* +c* ./b +* ./c -* ./d")
        log.feed(b"a\nb\nc\n\n")
        self.assertEqual(
            [b"a\nc\n\n", b"c\n", b"a\nb\nc\n\n", b""], [self.desk.current(one) for one in "abcd"]
        )

    def test_stamps(self) -> None:
        """Patterns see the stamp; a line's stamp tells when its first byte came."""
        log = self.desk.log("t -*no* -*z ./main")
        log.feed(b"a\nno\nb")
        now = self.desk.now
        self.assertEqual(label(now) + b" a\n", self.desk.current())
        self.desk.now += 7_000_000_000
        log.feed(b"b\n")
        self.assertEqual(label(now) + b" a\n" + label(now) + b" bb\n", self.desk.current())

    def test_last_line(self) -> None:
        """A last line without a newline gets one."""
        log = self.desk.log("./main e")
        log.feed(b"a")
        self.assertEqual((b"", True), (self.desk.current(), log.unfinished))
        log.end()
        self.assertEqual((b"a\n", [b"a\n"]), (self.desk.current(), self.desk.shown))

    def test_shown(self) -> None:
        """Lines are shown shortened to 200 bytes; a longer one isn't shown again as it goes on."""
        log = self.desk.log("-no e")
        log.feed(b"a\nno\n" + b"x" * 200 + b"\n" + b"y" * 201 + b"\n")
        self.assertEqual([b"a\n" + b"x" * 200 + b"\n" + b"y" * 200 + b"...\n"], self.desk.shown)
        log.feed(b"z" * 5000)
        log.feed(b"more\n")
        log.feed(b"no\n")
        self.assertEqual([b"z" * 200 + b"...\n"], self.desk.shown[1:])
        log.end()

    def test_shown_twice(self) -> None:
        """Each line goes through all actions before the next does."""
        log = self.desk.log("e -b e")
        log.feed(b"a\nb\n\r\nc\n")
        self.assertEqual(b"a\na\nb\n\r\n\r\nc\nc\n", b"".join(self.desk.shown))

    def test_status_file(self) -> None:
        """It begins with the last selected line, 1001 bytes; a longer file keeps what follows."""
        status = self.desk.folder / "status"
        status.write_bytes(b"." * 1003)
        log = self.desk.log("-no* =status")
        self.assertEqual(b"." * 1003, status.read_bytes())
        log.feed(b"one\ntwo\nno\n")
        self.assertEqual(b"two" + b"\n" * 998 + b"..", status.read_bytes())
        log.feed(b"no!\n")
        self.assertEqual(b"two", status.read_bytes()[:3])
        log.feed(b"x" * 1500)
        self.assertEqual(b"x" * 1000 + b"\n..", status.read_bytes())
        log.feed(b"y\n\n")
        self.assertEqual(b"\n" * 1001 + b"..", status.read_bytes())
        log.end()
        self.desk.log("=fresh").end()
        self.assertEqual(0o600, self.desk.mode("fresh", "."))

    def test_status_file_that_cant_be_written(self) -> None:
        """It is tried again, and nothing else goes on meanwhile."""
        log = self.desk.log("=/dev/full ./main")
        log.feed(b"a\n")
        self.assertEqual(
            ["unable to write /dev/full, pausing: out of disk space"], self.desk.warnings
        )
        log.retry()
        self.assertEqual((2, b""), (len(self.desk.warnings), self.desk.current()))

    def test_long_line(self) -> None:
        """Directories get all of it, if its first 1000 bytes are selected."""
        log = self.desk.log("-n* ./main")
        log.feed(b"y" * 3000)
        self.assertEqual(b"y" * 3000, self.desk.current())
        log.feed(b"\0more\nn" + b"o" * 3000)
        log.feed(b"o\nyes\n")
        self.assertEqual(b"y" * 3000 + b"\0more\nyes\n", self.desk.current())

    def test_nothing_to_do(self) -> None:
        """A script without actions takes everything and does nothing."""
        log = self.desk.log("")
        log.feed(b"a\n" * 1000)
        log.end()
        self.assertFalse(log.busy)

    @given(
        st.lists(st.sampled_from(["-*", "-a*", "+*b", "+b*", "-b", "./x", "./y"]), max_size=8),
        st.lists(st.sampled_from([b"", b"a", b"b", b"ab", b"b" * 1200, b"a" * 999]), max_size=6),
        st.lists(st.integers(0, 7), max_size=8),
    )
    def test_any_script(self, script: list[str], lines: list[bytes], cuts: list[int]) -> None:
        """Files have what patterns select, however the stream came."""
        words: list[str] = []
        expected: dict[str, bytes] = {}
        for word in script:
            name = f"d{len(expected)}"
            if word.startswith("."):
                patterns = [one.encode() for one in words if one[0] in "+-"]
                chosen = Selection(read(patterns)).chosen(lines)
                expected[name] = b"".join(line + b"\n" for line in chosen)
                word = f"./{name}"
            words.append(word)
        self.setUp()
        log = self.desk.log(" ".join(words))
        data = b"".join(line + b"\n" for line in lines)
        for cut in cuts:
            log.feed(data[: cut * 100])
            data = data[cut * 100 :]
        log.feed(data)
        log.end()
        for name, content in expected.items():
            self.assertEqual(content, self.desk.current(name))
        self.desk.release()
