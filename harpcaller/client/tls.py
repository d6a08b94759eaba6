"""Which agents and dispatchers are believed to be one; the same for every face.

The TLS library is imported when it is first needed, because most programs never talk to an
agent or by TLS and it takes longer to load than the rest of this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

from harpcaller.client.channel import why
from harpcaller.client.exceptions import CommunicationError, HarpException

if TYPE_CHECKING:
    import socket
    import ssl

#: A PEM file with certificate and key, or one of each.
ClientCertificate = Union[str, tuple[str, str]]

_PIECE_SIZE = 64 * 1024


def tls_context(ca_file: str | None, verify_hostname: bool) -> ssl.SSLContext:
    """Make the context in which agents are talked to: TLS 1.2 or newer.

    Args:
        ca_file: The authorities' certificates; None to take any certificate.
        verify_hostname: The certificate must also name the host.

    Raises:
        HarpException: The file can't be read, or isn't there to verify a name with.
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = verify_hostname
    if ca_file is None:
        if verify_hostname:
            raise HarpException("verify_hostname needs a ca_file")
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:
        raise HarpException(f"{ca_file}: cannot be used as a CA file: {why(error)}") from None
    return context


def dispatcher_context(
    ca_file: str | None, cert: ClientCertificate | None
) -> ssl.SSLContext | None:
    """Make the context in which a dispatcher is talked to: TLS 1.2 or newer, its name verified.

    Args:
        ca_file: The authorities' certificates; None for the system's.
        cert: What to show of ourselves; None for nothing.

    Returns:
        None if neither is given: then there is no TLS.

    Raises:
        HarpException: A file can't be used.
    """
    if ca_file is None and cert is None:
        return None
    import ssl

    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise HarpException(f"{ca_file}: cannot be used as a CA file: {why(error)}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert is not None:
        certificate, key = (cert, None) if isinstance(cert, str) else cert
        try:
            # Without a password asked for, which would be asked for on the terminal.
            context.load_cert_chain(certificate, key, password="")
        except (OSError, ValueError) as error:
            raise HarpException(
                f"{certificate}: cannot be used as a certificate with its key: {why(error)}"
            ) from None
    return context


def secured(
    plain: socket.socket, context: ssl.SSLContext, host: str, address: str
) -> ssl.SSLSocket:
    """Do the handshake on a connected socket, which belongs to the result from here on.

    Raises:
        CommunicationError: The peer isn't who it must be, or speaks no TLS.
    """
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except BaseException as error:
        plain.close()
        if isinstance(error, (OSError, ValueError)):
            raise CommunicationError(f"{address}: TLS: {why(error)}") from None
        raise


class Cipher:
    """TLS from bytes to bytes, for transports that know nothing of it.

    So that who is believed to be an agent is decided by :func:`tls_context` there too.

    Attributes:
        ready: Whether the handshake is done.
        closed: Whether the peer has said that it says no more.
    """

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        import ssl

        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._wants_more = ssl.SSLWantReadError
        self._zero_return = ssl.SSLZeroReturnError
        self.ready = False
        self.closed = False

    def heard(self, data: bytes) -> bytes:
        """Take what came, nothing to begin with, and give what it means.

        Afterwards there may be something :meth:`to_send`.

        Raises:
            CommunicationError: It isn't TLS, or the peer isn't who it must be.
        """
        self._incoming.write(data)
        said = bytearray()
        try:
            if not self.ready:
                self._tls.do_handshake()
                self.ready = True
            while piece := self._tls.read(_PIECE_SIZE):
                said += piece
            self.closed = True
        except self._wants_more:
            pass
        except self._zero_return:
            self.closed = True
        except OSError as error:
            raise CommunicationError(f"TLS: {why(error)}") from None
        return bytes(said)

    def say(self, data: bytes) -> None:
        """Have this sent; the handshake must be done."""
        self._tls.write(data)

    def to_send(self) -> bytes:
        """Take what is to be sent to the peer."""
        return self._outgoing.read()
