"""The control socket: who may connect, and which protocol a connection speaks.

The socket's mode is 0600, so what comes through it comes from the daemon's own user or
root.  The first byte of a connection tells its protocol: ``{`` is JSON lines, 0x00 is AMP.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.control.amp_face import AmpFace
from harpcaller.control.commands import Seams
from harpcaller.control.flow import ControlTransport, Outlet
from harpcaller.control.json_face import JsonFace
from harpcaller.errors import HarpcallerError, InvalidRequest
from harpcaller.logs.events import EventLog
from harpcaller.wire.control import MAX_COMMAND_SIZE
from harpcaller.wire.control_answers import encode_refusal

#: How long a client may take to read its last answer when the daemon stops, in seconds.
CLOSE_SECONDS = 2.0
#: Connections that may wait to be accepted; one more is refused, or has to wait itself.
BACKLOG = 1024

_log = EventLog("control")


class ControlSocketError(HarpcallerError):
    """The control socket can't be had; the message says which and why."""


@implementer(IHalfCloseableProtocol)
class ControlProtocol(Protocol):
    """One connection: it finds out what the client speaks, and from then on passes bytes on."""

    def __init__(self, factory: ControlFactory) -> None:
        self._factory = factory
        self._face: JsonFace | AmpFace | None = None

    def connectionMade(self) -> None:
        self._outlet = Outlet(cast(ControlTransport, self.transport))
        self._factory.connections.add(self)

    def dataReceived(self, data: bytes) -> None:
        if self._face is None:
            self._face = self._choose(data[:1])
        if self._face is not None:
            self._face.received(data)

    def _choose(self, first: bytes) -> JsonFace | AmpFace | None:
        if first == b"{":
            return JsonFace(self._factory.seams, self._outlet, self._factory.max_line)
        if first == b"\0":
            face = AmpFace(self._factory.seams, self._outlet)
            face.makeConnection(self.transport)
            return face
        complaint = "expected a JSON object ('{') or an AMP box (a zero byte) to begin with"
        self._outlet.write(encode_refusal(InvalidRequest(complaint)))
        self._outlet.close()
        return None

    def readConnectionLost(self) -> None:
        if _hung_up(self.transport):
            self._outlet.abort()
        elif self._face is None:
            self._outlet.close()
        else:
            self._face.ended()

    def writeConnectionLost(self) -> None:
        """Never called: nobody here closes the writing half alone."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._factory.connections.discard(self)
        if isinstance(self._face, AmpFace):
            self._face.lost(reason)
        elif self._face is not None:
            self._face.lost()
        else:
            self._outlet.lost()
        self._factory.one_less()

    def close(self) -> None:
        """Close once everything written is out."""
        self._outlet.close()

    def abort(self) -> None:
        """Close at once."""
        self._outlet.abort()


def _hung_up(transport: object) -> bool:
    """Tell a client that is gone from one that only says no more.

    Both look the same to Twisted, which notices the former when it writes; and to
    ``status`` with ``wait`` nothing may be written for ever.
    """
    if not isinstance(transport, unix.Server):
        return False
    look = select.poll()
    look.register(transport.fileno(), 0)
    return any(seen & select.POLLHUP for _, seen in look.poll(0))


class ControlFactory(Factory):
    """Makes the connections of one control socket.

    Args:
        seams: Whom the commands ask.
        max_line: The longest line of JSON, in bytes.

    Attributes:
        connections: Those that are open.
    """

    noisy = False

    def __init__(self, seams: Seams, max_line: int = MAX_COMMAND_SIZE) -> None:
        self.seams = seams
        self.max_line = max_line
        self.connections: set[ControlProtocol] = set()
        self._none_left: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> ControlProtocol:
        return ControlProtocol(self)

    async def close_all(self, clock: IReactorTime) -> None:
        """Close every connection; one that can't take its last answer is cut off."""
        if not self.connections:
            return
        self._none_left = Deferred()
        for connection in tuple(self.connections):
            connection.close()
        cutting = clock.callLater(CLOSE_SECONDS, self._cut)
        try:
            await self._none_left
        finally:
            if cutting.active():
                cutting.cancel()

    def _cut(self) -> None:
        for connection in tuple(self.connections):
            connection.abort()

    def one_less(self) -> None:
        """Take note that a connection is gone."""
        if self._none_left is not None and not self.connections:
            done, self._none_left = self._none_left, None
            done.callback(None)


class _Port(unix.Port):
    """A listening Unix socket that removes its own file and nobody else's.

    Twisted's own removes whatever has the path by then, and never finishes closing if
    nothing has.
    """

    _ours: tuple[int, int] | None = None

    def startListening(self) -> None:
        super().startListening()
        found = os.stat(self._bindPath)
        self._ours = (found.st_dev, found.st_ino)

    def connectionLost(self, reason: Any) -> None:
        try:
            found = os.lstat(self._bindPath)
            if (found.st_dev, found.st_ino) == self._ours:
                os.unlink(self._bindPath)
        except OSError as error:
            _log.warn("control.socket_not_removed", reason=str(error))
        tcp.Port.connectionLost(self, reason)


class ControlSocket:
    """The control socket of a daemon, from its start to its stop.

    Args:
        path: Where it is; its directory has to be there.
        seams: Whom the commands ask.
        reactor: It must be able to watch file descriptors, too.
    """

    def __init__(self, path: str, seams: Seams, reactor: IReactorTime) -> None:
        self._path = os.path.abspath(path)
        self._reactor = reactor
        self._factory = ControlFactory(seams)
        self._port: _Port | None = None

    def start(self) -> None:
        """Begin to listen, in place of a daemon that is no more.

        Raises:
            ControlSocketError: A living daemon has it, or it can't be made.
        """
        try:
            with _directory_to_ourselves(os.path.dirname(self._path)):
                _remove_stale(self._path)
                path = os.fsencode(self._path)
                port = _Port(path, self._factory, BACKLOG, mode=0o600, reactor=self._reactor)
                port.startListening()
        except CannotListenError as error:
            raise ControlSocketError(
                f"control socket {self._path}: {_reason(error.socketError)}"
            ) from None
        except OSError as error:
            raise ControlSocketError(f"control socket {self._path}: {_reason(error)}") from None
        self._port = port
        _log.info("control.listening", path=self._path)

    async def stop(self) -> None:
        """Stop listening, remove the socket, and close what is connected."""
        port, self._port = self._port, None
        if port is not None:
            await port.stopListening()
        # The command that asked for the stop is to be answered, too.
        await deferLater(self._reactor, 0)
        await self._factory.close_all(self._reactor)


def _reason(error: object) -> str:
    return getattr(error, "strerror", None) or str(error)


@contextmanager
def _directory_to_ourselves(directory: str) -> Iterator[None]:
    """Keep two daemons that start at once from each taking the other's socket for stale."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise OSError(errno.EBUSY, "another daemon is just starting in its directory") from None
    finally:
        os.close(descriptor)


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on.

    Raises:
        OSError: Somebody does, or it is no socket.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "it exists, and isn't a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # so many connect to it that its backlog is full
    raise OSError(errno.EADDRINUSE, "another daemon is listening on it")
