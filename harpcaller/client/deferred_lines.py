"""Connections of a Twisted reactor, in the form that the core asks for.

With :mod:`~harpcaller.client.deferred` all of the library that needs Twisted.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.error import ConnectError, ConnectionDone, DNSLookupError
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.python.threadable import isInIOThread
from zope.interface import implementer

from harpcaller.client.channel import attend, shown_address, why
from harpcaller.client.exceptions import CommunicationError
from harpcaller.client.pushed import PushedChannel
from harpcaller.client.tls import Cipher

if TYPE_CHECKING:
    import ssl


@implementer(IPushProducer)
class ReactorLine(Protocol):
    """A connection of the reactor's."""

    #: All of this is in no one interface of Twisted's, and its own TCP transport has it.
    transport: Any

    def __init__(self, reactor: Any, address: str, read_timeout: float | None) -> None:
        self.channel = PushedChannel(self, address, read_timeout)
        self._reactor = reactor
        self._clock: IReactorTime = reactor
        self._process = os.getpid()
        self._waiter: Deferred[bool] | None = None

    # What the reactor calls.

    def connectionMade(self) -> None:
        attend(self.transport.getHandle())
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self.channel.arrived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.channel.ended("" if reason.check(ConnectionDone) else _words(reason.value))

    def pauseProducing(self) -> None:
        self.channel.filled()

    def resumeProducing(self) -> None:
        self.channel.drained()

    def stopProducing(self) -> None:
        """The connection is lost, of which we'll hear."""

    # What the channel asks for.

    def here(self) -> bool:
        return os.getpid() == self._process

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def hold(self, held: bool) -> None:
        if held:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()

    def fileno(self) -> int:
        return int(self.transport.getHandle().fileno())

    def abort(self) -> None:
        if isInIOThread():
            self.transport.abortConnection()
        else:
            self._reactor.callFromThread(self.transport.abortConnection)

    def wake(self) -> None:
        self._fire(True)

    def _fire(self, woken: bool) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(woken)

    async def wait(self, seconds: float | None) -> bool:
        if self._waiter is not None:
            raise RuntimeError("somebody waits on this connection already")
        # Cancelled, it fails with CancelledError, as Deferreds do by themselves.
        waiter = self._waiter = Deferred[bool]()
        timer = None if seconds is None else self._clock.callLater(seconds, self._fire, False)
        try:
            return await waiter
        finally:
            self._waiter = None
            if timer is not None and timer.active():
                timer.cancel()


class SecuredLine(ReactorLine):
    """One with TLS, whose rules are those of the other faces and not Twisted's."""

    def __init__(
        self,
        reactor: Any,
        address: str,
        read_timeout: float | None,
        context: ssl.SSLContext,
        host: str,
    ) -> None:
        super().__init__(reactor, address, read_timeout)
        self._context = context
        self._host = host
        self._cipher: Cipher | None = None

    async def handshake(self, seconds: float | None) -> None:
        """Wait until the peer has shown who it is.

        Raises:
            CommunicationError: It hasn't, or not in time.
        """
        try:
            self._cipher = Cipher(self._context, self._host)
            self.dataReceived(b"")
            while not self._cipher.ready:
                if self.channel.lost:
                    await self.channel.receive()
                    raise self.channel.error("TLS: the connection was closed in the handshake")
                if not await self.wait(seconds):
                    raise self.channel.error(f"TLS: no handshake within {seconds} s")
        except BaseException as error:
            self.channel.close()
            if isinstance(error, ValueError):
                # The host's name isn't one that could be in a certificate.
                raise self.channel.error(f"TLS: {error}") from None
            raise

    def dataReceived(self, data: bytes) -> None:
        assert self._cipher is not None, "who is called doesn't speak first"
        reason, said = "", b""
        try:
            said = self._cipher.heard(data)
        except CommunicationError as error:
            reason = str(error)
        # An alert tells the peer what we don't like of it.
        self.transport.write(self._cipher.to_send())
        if said:
            self.channel.arrived(said)
        if reason or self._cipher.closed:
            self.channel.ended(reason)
            self.transport.loseConnection()
        self.wake()

    def write(self, data: bytes) -> None:
        assert self._cipher is not None
        self._cipher.say(data)
        self.transport.write(self._cipher.to_send())


async def connect(
    reactor: Any, host: str, port: int, connect_timeout: float | None, line: ReactorLine
) -> PushedChannel:
    """Connect to one of the host's addresses.

    Raises:
        CommunicationError: There is no connection.
    """
    address = shown_address(host, port)
    try:
        connecting = _until_cancelled(connectProtocol(HostnameEndpoint(reactor, host, port), line))
        if connect_timeout is not None:
            _ = connecting.addTimeout(connect_timeout, reactor)
        await connecting
    except TookTooLong:
        raise CommunicationError(f"{address}: no connection within {connect_timeout} s") from None
    except (ConnectError, DNSLookupError, OSError, ValueError, OverflowError) as error:
        raise CommunicationError(f"{address}: {_words(error)}") from None
    return line.channel


async def connect_secured(
    reactor: Any, host: str, port: int, connect_timeout: float | None, line: SecuredLine
) -> PushedChannel:
    """Connect, and do the handshake, which may take as long again.

    Raises:
        CommunicationError: There is no connection, or with somebody else.
    """
    channel = await connect(reactor, host, port, connect_timeout, line)
    await line.handshake(connect_timeout)
    return channel


def _until_cancelled(connecting: Deferred[ReactorLine]) -> Deferred[ReactorLine]:
    """Give a Deferred that fails with CancelledError when it is cancelled.

    One of a HostnameEndpoint fails as if the name weren't known, or with an error of its own.
    """

    def cancel(given: Deferred[ReactorLine]) -> None:
        given.errback(CancelledError())
        connecting.cancel()

    def came(result: ReactorLine | Failure) -> None:
        if not given.called:
            given.callback(result)
        elif isinstance(result, ReactorLine):
            result.abort()

    given = Deferred[ReactorLine](cancel)
    _ = connecting.addBoth(came)
    return given


def _words(error: BaseException | None) -> str:
    """Say why an operation failed, in the system's words, as the blocking face does."""
    assert error is not None, "a Failure has one"
    number = getattr(error, "osError", None)
    return os.strerror(number) if isinstance(number, int) else why(error)
