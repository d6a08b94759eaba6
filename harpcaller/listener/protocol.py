"""A client's connection: its requests are answered one after the other, in order.

Each connection is one coroutine, :meth:`ClientProtocol._serve`; what the transport calls
only feeds it lines, tells it when there is room to write, or ends it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import attrs
from cryptography.x509 import NameOID
from OpenSSL.crypto import X509
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IDelayedCall,
    IHalfCloseableProtocol,
    IHandshakeListener,
    IPushProducer,
    IReactorTime,
    ISSLTransport,
    ISystemHandle,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.config.tokens import is_name
from harpcaller.errors import (
    InvalidRequest,
    NotAllowed,
    RequestTooLarge,
    SystemFailure,
    WireError,
)
from harpcaller.interfaces import IDispatcher, Requester
from harpcaller.listener.gate import Access, identified, subject_of
from harpcaller.listener.patience import Patience, Wanted
from harpcaller.listener.requests import answer
from harpcaller.logs.events import EventLog, forget
from harpcaller.wire.client import DEFAULT_MAX_REQUEST_SIZE, decode_signed
from harpcaller.wire.client_answers import encode_error
from harpcaller.wire.lines import LineBuffer, LineTooLong

_log = EventLog("listener")


@attrs.frozen
class ClientSettings:
    """What clients may do.

    Attributes:
        max_request_size: The longest request line, in bytes.
        idle_timeout_seconds: How long a connection may take to send its next request, or
            to make room for what it asked for.
        access: Who is known, and what they may do.
    """

    max_request_size: int = DEFAULT_MAX_REQUEST_SIZE
    idle_timeout_seconds: float = 300
    access: Access = attrs.Factory(Access)


class _Transport(ITCPTransport, ISystemHandle, IConsumer, IPushProducer):
    """What a TCP connection gives its protocol."""


@implementer(IHalfCloseableProtocol, IHandshakeListener, IPushProducer)
class ClientProtocol(Protocol):
    """One connection, with TLS or without."""

    transport: _Transport

    #: How long a client that was refused may go on sending before it is cut off, in
    #: seconds: closing at once would take the answer away from under it.
    LINGER_SECONDS = 2.0
    #: How long the TLS handshake may take, in seconds.
    HANDSHAKE_SECONDS = 10.0

    #: How much of its answers one client gets before others have their turn, in bytes.
    AT_ONCE = 4 * 1024

    def __init__(
        self,
        dispatcher: IDispatcher,
        settings: ClientSettings,
        access: Callable[[], Access],
        clock: IReactorTime,
        gone: Callable[[ClientProtocol], None],
    ) -> None:
        self._dispatcher = dispatcher
        self._settings = settings
        self._access = access
        self._clock = clock
        self._gone = gone
        self._lines = LineBuffer(settings.max_request_size)
        self._client = Requester("")
        self._is_tls = False
        self._handshake: IDelayedCall | None = None
        self._serving: Deferred[None] | None = None
        self._patience = Patience(clock, settings.idle_timeout_seconds)
        self._no_more = False
        self._full = False
        self._at_once = 0
        self._held_back = False
        self._linger: IDelayedCall | None = None

    def close(self) -> None:
        """End the connection, whatever it waits for."""
        if self._serving is not None:
            self._serving.cancel()
        elif self._handshake is not None:
            self.transport.abortConnection()
        elif self._linger is not None:
            self.transport.loseConnection()

    # --- What the transport calls --------------------------------------------------------

    def connectionMade(self) -> None:
        """Begin to serve, or wait for the handshake."""
        peer = self.transport.getPeer()
        self._client = Requester(f"{getattr(peer, 'host', peer)}:{getattr(peer, 'port', '')}")
        self.transport.setTcpNoDelay(True)
        self._is_tls = ISSLTransport.providedBy(self.transport)
        if self._is_tls:
            self._handshake = self._clock.callLater(self.HANDSHAKE_SECONDS, self._no_handshake)
        else:
            self._begin()

    def handshakeCompleted(self) -> None:
        """The client has shown who it is, if it was asked to."""
        if self._handshake is not None and self._handshake.active():
            self._handshake.cancel()
            self._handshake = None
            certificate = ISSLTransport(self.transport).getPeerCertificate()
            name = name_of(certificate) if isinstance(certificate, X509) else None
            self._client = Requester(self._client.peer, name)
            self._begin()

    def _no_handshake(self) -> None:
        self._handshake = None
        _log.warn("client.no_handshake", peer=self._client.peer)
        self.transport.abortConnection()

    def _begin(self) -> None:
        self.transport.registerProducer(self, True)
        self._serving = Deferred.fromCoroutine(self._serve())
        forget(self._serving, _log, "client.bug")

    def dataReceived(self, data: bytes) -> None:
        """Keep what came; a client that is far ahead of its answers is held back."""
        if self._linger is not None:
            return
        self._lines.feed(data)
        if self._patience.came(Wanted.MORE):
            return
        if self._lines.pending() > self._settings.max_request_size and not self._held_back:
            self._held_back = True
            self.transport.pauseProducing()

    def readConnectionLost(self) -> None:
        """The client has shut down its writing side; it still gets its answers."""
        self._no_more = True
        if self._linger is not None:
            # It sends no more, so closing doesn't take the answer away from under it.
            self.transport.loseConnection()
            return
        # A client that went away altogether looks the same. Asking its system now and then
        # is the only way to tell.
        self.transport.setTcpKeepAlive(True)
        handle = self.transport.getHandle()
        if isinstance(handle, socket.socket):
            handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
            handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        self._patience.came(Wanted.MORE)

    def writeConnectionLost(self) -> None:
        """Our own side is shut down; nothing to do."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Give up what is still being done for this client; its jobs go on."""
        self._gone(self)
        if self._handshake is not None:
            self._handshake.cancel()
            self._handshake = None
            _log.warn(
                "client.no_handshake", peer=self._client.peer, reason=reason.getErrorMessage()
            )
        if self._serving is not None:
            self._serving.cancel()
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    def pauseProducing(self) -> None:
        """The client reads more slowly than we write."""
        self._full = True

    def resumeProducing(self) -> None:
        """There is room again."""
        self._full = False
        self._patience.came(Wanted.ROOM)

    def stopProducing(self) -> None:
        """The connection is lost, which :meth:`connectionLost` sees to."""

    # --- Serving -------------------------------------------------------------------------

    async def _serve(self) -> None:
        try:
            while (line := await self._next_line()) is not None:
                await self._answer(line)
                if self._is_ahead():
                    await self._stand_back()
            self._hang_up()
        except WireError as error:
            # Whoever breaks the protocol is told once, and can't be understood from here on.
            _log.warn(
                "client.refused", peer=self._client.peer, type=error.wire_type, reason=str(error)
            )
            self._refuse(error)
        except (CancelledError, TimeoutError):
            self._hang_up()
        except Exception:  # noqa: BLE001  # a bug of ours ends one connection, not the daemon
            _log.bug("client.bug", Failure(), peer=self._client.peer)
            self._refuse(SystemFailure("the dispatcher failed; its log tells more"))
        finally:
            self._serving = None
            self._patience.stop()

    async def _answer(self, line: bytes) -> None:
        request, token = decode_signed(line)
        client, access = self._client, self._access()
        try:
            client = identified(access, client, token)
            told = await answer(self._dispatcher, access, request, client)
            if isinstance(told, bytes):
                self._write(told)
                return
            async for piece in told:
                self._write(piece)
                if self._is_ahead():
                    await self._stand_back()
        except WireError as error:
            if isinstance(error, NotAllowed):
                _log.warn(
                    "client.denied",
                    client=client.name,
                    peer=client.peer,
                    **subject_of(request),
                    reason=error.message,
                )
            self._write(encode_error(error.wire_type, error.message))

    async def _next_line(self) -> bytes | None:
        """Wait for a request; None when there will be no more.

        Raises:
            InvalidRequest: The last line has no end.
            RequestTooLarge: It is longer than allowed.
            TimeoutError: It takes too long.
        """
        is_begun = False
        try:
            while True:
                line = self._lines.next_line()
                if line is not None:
                    self._let_go_on()
                    return line
                if self._no_more:
                    if self._lines.pending():
                        raise InvalidRequest("the last line isn't ended by a newline")
                    return None
                self._let_go_on()
                # One deadline for the whole line, however many pieces it comes in.
                await self._patience.wait(Wanted.MORE, anew=not is_begun)
                is_begun = True
                self._at_once = 0
        except LineTooLong as error:
            raise RequestTooLarge(f"the request is a {error}") from None

    def _let_go_on(self) -> None:
        if self._held_back and self._lines.pending() <= self._settings.max_request_size:
            self._held_back = False
            self.transport.resumeProducing()

    def _write(self, piece: bytes) -> None:
        self.transport.write(piece)
        self._at_once += len(piece)

    def _is_ahead(self) -> bool:
        """Tell whether the client, or others, should have their turn before more is written."""
        return self._full or self._at_once > self.AT_ONCE

    async def _stand_back(self) -> None:
        """Wait until there is room for more, or until others have had their turn."""
        if self._full:
            await self._patience.wait(Wanted.ROOM)
        else:
            # Who reads a long stream as fast as we write it must not keep others waiting.
            await deferLater(self._clock, 0)
        self._at_once = 0

    # --- Closing -------------------------------------------------------------------------

    def _hang_up(self) -> None:
        self.transport.unregisterProducer()
        if self._full:
            # It isn't reading: what it didn't take, it will not.
            self.transport.abortConnection()
        else:
            self._linger = self._clock.callLater(self._settings.idle_timeout_seconds, self._cut_off)
            self.transport.loseConnection()

    def _refuse(self, error: WireError) -> None:
        self.transport.write(encode_error(error.wire_type, error.message))
        # What came along with the request isn't wanted any more.
        self._lines = LineBuffer(self._settings.max_request_size)
        if self._no_more:
            self._hang_up()
            return
        self.transport.unregisterProducer()
        self._linger = self._clock.callLater(self.LINGER_SECONDS, self._cut_off)
        self._let_go_on()
        if self._is_tls:
            # TLS has an end of its own, which waits for the client's.
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()

    def _cut_off(self) -> None:
        self._linger = None
        self.transport.abortConnection()


def name_of(certificate: X509) -> str | None:
    """Give the name that a client's certificate gives it, its only commonName, if it does."""
    try:
        names = certificate.to_cryptography().subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except Exception:  # noqa: BLE001  # of no one family; OpenSSL is the more lenient reader
        return None
    found = names[0].value if len(names) == 1 else None
    return found if isinstance(found, str) and is_name(found) else None


class ClientFactory(Factory):
    """All connections of clients.

    Args:
        settings: May be replaced while running.  Who may do what counts at once, also for
            connections that are open, which keep the rest.
    """

    noisy = False

    def __init__(
        self, dispatcher: IDispatcher, settings: ClientSettings, clock: IReactorTime
    ) -> None:
        self.settings = settings
        self._dispatcher = dispatcher
        self._clock = clock
        self._open: dict[ClientProtocol, None] = {}  # in the order of their coming

    def buildProtocol(self, addr: IAddress | None) -> ClientProtocol:
        """Serve one more client."""
        client = ClientProtocol(
            self._dispatcher, self.settings, self._access, self._clock, self._gone
        )
        self._open[client] = None
        return client

    def _access(self) -> Access:
        return self.settings.access

    def _gone(self, client: ClientProtocol) -> None:
        self._open.pop(client, None)

    def close(self) -> None:
        """End all connections, the oldest first."""
        for client in list(self._open):
            client.close()
