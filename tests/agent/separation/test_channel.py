"""The monitor's end of a channel: bounds, and what breaks the rules."""

from __future__ import annotations

from twisted.internet.testing import StringTransport

from harpcaller.agent.separation import channel
from harpcaller.agent.separation.channel import MOST_NEW, Channel, Channels
from harpcaller.agent.separation.table import (
    ANSWERED,
    ASKED,
    MOST_SAID,
    Answered,
    Attach,
    Authenticate,
    Cancel,
    Closed,
    Finished,
    GiveUp,
    Known,
    List,
    Said,
)
from harpcaller.wire.client import JobId
from tests.agent.fakes import PASSWORD
from tests.agent.separation.test_conversation import CALL, InterviewCase


class Transport(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class ChannelCase(InterviewCase):
    def setUp(self) -> None:
        super().setUp()
        self.channels = Channels(self.office, self.breaches.append)

    def open(self) -> tuple[Channel, Transport]:
        taken, transport = self.channels.take(), Transport()
        assert taken is not None
        taken.makeConnection(transport)
        return taken, transport

    def said(self, transport: Transport) -> list[Answered]:
        reader = ANSWERED.reader()
        reader.feed(transport.value())
        found = []
        while (answer := reader.next()) is not None:
            found.append(answer)
        return found


KNOWN = ASKED.encode(Authenticate("somebody", PASSWORD, "192.0.2.1"))


class TalkTests(ChannelCase):
    def test_each(self) -> None:
        """What can be asked for is asked for, and answered."""
        for asked in (CALL, Attach(JobId("j"), 0), List(), Cancel(JobId("j"))):
            taken, transport = self.open()
            taken.dataReceived(KNOWN + ASKED.encode(asked))
            self.assertEqual(Known(), self.said(transport)[0])
            self.assertGreater(len(self.said(transport)), 1)
            taken.connectionLost()
        self.assertEqual([], self.breaches)
        self.assertEqual(0, len(self.channels))

    def test_refused(self) -> None:
        """Who isn't known hears that, and the channel is closed."""
        taken, transport = self.open()
        taken.dataReceived(ASKED.encode(Authenticate("somebody", "wrong", "?")))
        self.assertIn("wrong password", str(self.said(transport)))
        self.assertTrue(transport.disconnecting)
        taken.connectionLost()

    def test_much(self) -> None:
        """What is longer than a message may be goes in several."""
        taken, transport = self.open()
        taken.dataReceived(KNOWN + ASKED.encode(CALL))
        record = b"x" * (2 * MOST_SAID + 1)
        self.template.processes[0].events.said(record)
        said = [answer.data for answer in self.said(transport) if isinstance(answer, Said)]
        self.assertEqual([MOST_SAID, MOST_SAID, 1], [len(part) for part in said])
        self.assertEqual(record, b"".join(said))
        self.assertIs(self.template.processes[0], transport.producer)
        self.template.processes[0].events.answered(b'{"result":1}\n')
        self.assertEqual(Finished(), self.said(transport)[-1])
        self.assertIsNone(transport.producer)
        taken.connectionLost()

    def test_given_up(self) -> None:
        """A call that is given up is ended."""
        taken, _ = self.open()
        taken.dataReceived(KNOWN + ASKED.encode(CALL) + ASKED.encode(GiveUp()))
        self.assertEqual(1, len(self.template.processes[0].ends))
        taken.connectionLost()

    def test_refused_call(self) -> None:
        """What can't be done is told, and no more comes."""
        self.office.calls.refuse_more()
        taken, transport = self.open()
        taken.dataReceived(KNOWN + ASKED.encode(CALL))
        self.assertIn(b"shutdown", transport.value())
        self.assertEqual(Closed(), self.said(transport)[-1])
        taken.connectionLost()


class BreachTests(ChannelCase):
    def breach(self, *said: bytes) -> str:
        taken, transport = self.open()
        for one in said:
            taken.dataReceived(one)
        self.assertTrue(transport.aborted)
        taken.connectionLost()
        (found,) = self.breaches
        return found

    def test_not_in_the_table(self) -> None:
        """What is no message is a breach."""
        self.assertIn("no message", self.breach(b"POST / HTTP/1.0\r\n"))

    def test_order(self) -> None:
        """So is one that comes when it can't."""
        self.assertIn("can't come now", self.breach(ASKED.encode(CALL)))

    def test_more_after_the_question(self) -> None:
        """Nothing is kept in memory that comes after what was asked for."""
        found = self.breach(KNOWN + ASKED.encode(CALL), ASKED.encode(CALL)[:5])
        self.assertEqual("a message after what was asked for", found)
        self.assertEqual(1, len(self.template.processes))


class BoundTests(ChannelCase):
    def test_new(self) -> None:
        """So many may be about to ask; who has asked isn't counted."""
        opened = [self.open() for _ in range(MOST_NEW)]
        self.assertIsNone(self.channels.take())
        opened[0][0].dataReceived(KNOWN + ASKED.encode(CALL))
        opened.append(self.open())
        self.assertIsNone(self.channels.take())
        opened[1][0].connectionLost()
        opened.append(self.open())
        for taken, _ in opened:
            if taken is not opened[1][0]:
                taken.connectionLost()

    def test_all(self) -> None:
        """So many may there be, whatever they do."""
        self.patch(channel, "MOST_MORE", 1)
        opened = []
        for _ in range(3):
            one = self.open()
            one[0].dataReceived(KNOWN + ASKED.encode(List()))
            opened.append(one)
        self.assertIsNone(self.channels.take())
        self.channels.close()
        self.assertTrue(all(transport.aborted for _, transport in opened))
        for taken, _ in opened:
            taken.connectionLost()
