"""The server's end of the socket to a template: orders with their descriptors, and reports.

An order goes out in one piece with its descriptors and, if the socket takes it, at once, so
that the template is woken once for each.  Twisted's own connections send each descriptor by itself.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.python.failure import Failure

from harpcaller.agent.call_process import AgentReactor

#: How much is read at once, in bytes.
_PIECE = 65536


class OrderSocket(FileDescriptor):
    """Our end of the socket.

    Args:
        reactor: Tells when it can be read or written.
        ours: The socket, which is closed with this.
        heard: Called with what the template says, as it comes.
    """

    def __init__(
        self, reactor: AgentReactor, ours: socket.socket, heard: Callable[[bytes], None]
    ) -> None:
        super().__init__(cast(IReactorFDSet, reactor))
        ours.setblocking(False)
        self._socket = ours
        self._heard = heard
        self._unsent: deque[tuple[bytes, Sequence[int]]] = deque()
        self.connected = True
        self.startReading()

    def fileno(self) -> int:
        """Twisted: give the descriptor."""
        return self._socket.fileno()

    def send(self, order: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send an order.

        Args:
            order: Its line.
            descriptors: What goes with it; closed here when they are gone, or can't go any more.
        """
        self._unsent.append((order, descriptors))
        if not self.connected:
            self._forget()
        elif len(self._unsent) == 1:
            lost = self.doWrite()
            if lost is not None:
                self.connectionLost(Failure(lost))
            elif self._unsent:
                self.startWriting()

    def doWrite(self) -> Exception | None:
        """Twisted: there is room."""
        while self._unsent:
            order, descriptors = self._unsent[0]
            try:
                sent = _send(self._socket, order, descriptors)
            except BlockingIOError:
                return None
            except OSError:
                return cast(Exception, CONNECTION_LOST)
            _close(descriptors)
            if sent < len(order):
                self._unsent[0] = order[sent:], ()
            else:
                self._unsent.popleft()
        self.stopWriting()
        return None

    def doRead(self) -> Exception | None:
        """Twisted: there is something to read."""
        try:
            data = self._socket.recv(_PIECE)
        except BlockingIOError:
            return None
        except OSError:
            return cast(Exception, CONNECTION_LOST)
        if not data:
            return cast(Exception, CONNECTION_DONE)
        self._heard(data)
        return None

    def close(self) -> None:
        """Speak no more; what wasn't sent isn't."""
        if self.connected:
            self.connectionLost(Failure(CONNECTION_DONE))

    def connectionLost(self, reason: Failure) -> None:
        """Twisted: the template is gone, or we closed it."""
        super().connectionLost(reason)
        self._forget()
        self._socket.close()

    def _forget(self) -> None:
        while self._unsent:
            _, descriptors = self._unsent.popleft()
            _close(descriptors)


def _send(to: socket.socket, order: bytes, descriptors: Sequence[int]) -> int:
    if not descriptors:
        return to.send(order)
    return socket.send_fds(to, [order], list(descriptors))


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
