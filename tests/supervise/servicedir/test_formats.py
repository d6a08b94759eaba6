"""What a service has on disk: status bytes, control letters, details and settings."""

from __future__ import annotations

import signal

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.supervise.machine.events import SignalWanted, UpWanted
from harpcaller.supervise.machine.life import Rules
from harpcaller.supervise.machine.restarts import Ending, RestartPolicy, When
from harpcaller.supervise.servicedir.control import COMMANDS, decode_commands
from harpcaller.supervise.servicedir.detail import (
    Detail,
    decode_detail,
    encode_detail,
    in_words,
)
from harpcaller.supervise.servicedir.settings import NotifyFrom, Settings, read_settings
from harpcaller.supervise.servicedir.status import NotStatus, Status, decode_status, encode_status

#: As the original wrote it: up, pid 0x170a, want up.
SEEN = bytes.fromhex("400000006b00e72838c9d58c0a1700000075")

names = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1)
words = st.lists(names, max_size=3).map(" ".join)


class StatusTests(SynchronousTestCase):
    def test_bytes_of_the_original(self) -> None:
        """A status that djb's supervise wrote is read, and would be written the same."""
        status = decode_status(SEEN)
        self.assertEqual((0x170A, False, ord("u")), status[1:4])
        self.assertEqual(0x6B00E728 - 10, status.seconds)
        self.assertEqual(SEEN, encode_status(status))

    def test_too_short_is_no_status(self) -> None:
        """Half a file isn't taken for a service that is down."""
        for size in range(18):
            self.assertRaises(NotStatus, decode_status, SEEN[:size])

    def test_longer_ones_are_read(self) -> None:
        """Other families write more; only encore's meaning is known."""
        self.assertEqual("running", decode_status(SEEN + b"\3\0").encore_state)
        self.assertEqual("failed", decode_status(SEEN + b"\5\0" + bytes(20)).encore_state)
        for more in (b"\3", b"\3\1", b"\x09\0", b"\3\0\0"):
            self.assertIsNone(decode_status(SEEN + more).encore_state)

    def test_paused_only_when_up(self) -> None:
        """Nobody is told that what is down is paused."""
        self.assertEqual(0, encode_status(Status(0, 0, True, 0))[16])
        self.assertEqual(1, encode_status(Status(0, 5, True, 0))[16])

    @given(
        st.integers(-(2**61) * 10**9, 2**61 * 10**9),
        st.integers(1, 2**31 - 1),
        st.booleans(),
        st.sampled_from([0, 100, 117]),
    )
    def test_round_trip(self, changed: int, pid: int, is_paused: bool, want: int) -> None:
        """Whatever a clock shows, what is written is read."""
        status = Status(changed, pid, is_paused, want)
        self.assertEqual(status, decode_status(encode_status(status)))
        self.assertEqual(18, len(encode_status(status)))


class ControlTests(SynchronousTestCase):
    def test_letters_of_the_original(self) -> None:
        """All of djb's letters mean something."""
        self.assertLessEqual(set(b"udopchaitkx"), set(COMMANDS))
        self.assertEqual(SignalWanted(signal.SIGALRM), COMMANDS[ord("a")])

    def test_order_is_kept_and_the_unknown_passed_over(self) -> None:
        """encore's svc begins with an l, which nobody else knows."""
        self.assertEqual([UpWanted(), SignalWanted(signal.SIGTERM)], decode_commands(b"lu\0\xfft+"))


class DetailTests(SynchronousTestCase):
    @given(
        st.builds(
            Detail,
            stamp=st.just("40" * 12),
            pid=st.integers(0, 2**31),
            state=st.sampled_from(["up", "given up"]),
            uptime=st.integers(0, 10**6).map(float),
            ending=st.none()
            | st.builds(Ending, st.integers(0, 255), st.none())
            | st.builds(Ending, st.none(), st.integers(1, 64)),
            deaths=st.integers(0, 10**6),
            retry=st.none() | st.integers(0, 10**6).map(float),
            waits_for=st.lists(names).map(tuple),
            trouble=words,
            said=words,
        )
    )
    def test_round_trip(self, detail: Detail) -> None:
        """What is written is read."""
        self.assertEqual(detail, decode_detail(encode_detail(detail)))

    def test_newlines_in_words_do_no_harm(self) -> None:
        """A service that says several lines can't write fields."""
        detail = Detail("00", 5, "up", 1.0, said="one\npid 77\nstate down")
        read = decode_detail(encode_detail(detail))
        assert read is not None
        self.assertEqual((5, "up", "one pid 77 state down"), (read.pid, read.state, read.said))

    def test_blank_words_are_none(self) -> None:
        """A service that says blanks has said nothing."""
        blank = Detail("00", 5, "up", 1.0, said="  \n", trouble="\t")
        self.assertEqual(Detail("00", 5, "up", 1.0), decode_detail(encode_detail(blank)))

    def test_nonsense_is_no_detail(self) -> None:
        """A file of somebody else's is passed over."""
        for data in (b"", b"\xff\xfe", b"pid x\n", b"stamp 0\npid 1\nstate up\nuptime soon\nend\n"):
            self.assertIsNone(decode_detail(data))

    def test_half_written_is_no_detail(self) -> None:
        """What is read while it is written isn't believed, and what an older one left over is
        passed over."""
        data = encode_detail(Detail("00", 5, "up", 1.0, said="something"))
        for size in range(len(data) - 1):
            self.assertIsNone(decode_detail(data[:size]))
        self.assertEqual(decode_detail(data), decode_detail(data + b"pid 7\nend\n"))

    def test_belongs_to_its_status_only(self) -> None:
        """One that was left by an earlier supervise is known as such."""
        status = decode_status(SEEN)
        detail = Detail(SEEN[:12].hex(), status.pid, "up", 0.0)
        self.assertTrue(detail.belongs_to(status))
        self.assertFalse(detail.belongs_to(status._replace(pid=1)))
        self.assertFalse(detail.belongs_to(status._replace(changed=0)))

    def test_words_tell_why(self) -> None:
        """Down is told with its reason; what is well needs no words."""
        plain = Detail("00", 0, "down", 0.0)
        cases = {
            "": plain,
            "ended: exit code 3": plain._replace(ending=Ending(3, None)),
            "ended: killed by SIGKILL": plain._replace(ending=Ending(None, 9)),
            "ended: killed by signal 99": plain._replace(ending=Ending(None, 99)),
            "waits for db, net": plain._replace(state="starting", waits_for=("db", "net")),
            "next try in 5 s; died 3 times in a row, the last: exit code 1": plain._replace(
                state="backoff", retry=15.0, deaths=3, ending=Ending(1, None)
            ),
            "given up; its finish script wants it to stay down": plain._replace(
                state="given up", trouble="its finish script wants it to stay down"
            ),
            'ready; says "serving"': plain._replace(state="ready", pid=5, said="serving"),
        }
        for expected, detail in cases.items():
            self.assertEqual(expected, in_words(detail, 10.0))


class SettingsTests(SynchronousTestCase):
    def test_nothing_asked_for(self) -> None:
        """Without files, the rules are those of the original."""
        self.assertEqual(Settings(), read_settings({}))
        self.assertFalse(Settings().tells_readiness)

    def test_everything_asked_for(self) -> None:
        """Each file is understood."""
        files = {
            "notification-fd": b"3\n",
            "notify-socket": b"",
            "down-signal": b"quit\n",
            "timeout-kill": b"1500\n",
            "timeout-finish": b"0\n",
            "restart": b"on-failure\n",
            "backoff": b"0.5 60\n",
            "give-up": b"5 30\n",
        }
        restarts = RestartPolicy(When.ON_FAILURE, 0.5, 60.0, 5, 30.0)
        rules = Rules(restarts, signal.SIGQUIT, 1.5, None)
        settings = read_settings(files)
        self.assertEqual(Settings(rules, 3, NotifyFrom.MAIN), settings)
        self.assertTrue(settings.tells_readiness)

    def test_signal_by_any_name(self) -> None:
        """With SIG, without, or by number."""
        for text in (b"SIGUSR1", b"usr1", b"10"):
            rules = read_settings({"down-signal": text}).rules
            self.assertEqual(signal.SIGUSR1, rules.down_signal)

    def test_mistakes_are_told_and_change_nothing(self) -> None:
        """One line that names the file, what is in it, and what should be."""
        mistakes = {
            "notification-fd": (b"2", b"x", b"1024", b""),
            "notify-socket": (b"yes",),
            "down-signal": (b"NOPE", b"0", b"65", b""),
            "timeout-kill": (b"1.5", b"-1", b"9" * 30, b"99999999999"),
            "timeout-finish": (b"soon",),
            "restart": (b"sometimes", b""),
            "backoff": (b"5", b"5 2", b"0 5", b"1 2 3", b"a b", b"1 .5", b"1 1.x", b"1 99999999"),
            "give-up": (b"5", b"0 5", b"5 0", b"1001 5", b"a 5"),
        }
        for name, contents in mistakes.items():
            for content in contents:
                settings = read_settings({name: content})
                self.assertEqual(Settings(), settings._replace(problems=()), (name, content))
                [problem] = settings.problems
                self.assertRegex(problem, f'^{name}: found "{content.decode()}", expected .')

    @given(st.dictionaries(st.sampled_from(["backoff", "give-up", "down-signal"]), st.binary()))
    def test_any_bytes_are_survived(self, files: dict[str, bytes]) -> None:
        """A file may hold anything."""
        read_settings(files)
