"""TLS for a scripted agent: any certificate, any version; it notes which sessions were resumed."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.interfaces import (
    IOpenSSLServerConnectionCreator,
    IReactorTime,
)
from twisted.internet.protocol import ServerFactory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from harpcaller.testing.certificates import Certificate


@attrs.define(eq=False)
class _Handshake:
    """How far a connection's handshake came."""

    showed_certificate: bool = False
    done: bool = False


@implementer(IOpenSSLServerConnectionCreator)
class AgentTLS:
    """The TLS of a fake agent.

    Args:
        certificate: What it shows.
        intermediates: What it sends along.
        newest: The newest TLS version that it speaks, as OpenSSL numbers them.
        tickets: Whether sessions can be resumed.

    Attributes:
        resumed: For each handshake that was completed, whether it resumed a session.
        context: OpenSSL's settings, for what isn't foreseen here.
    """

    def __init__(
        self,
        certificate: Certificate,
        intermediates: Sequence[Certificate] = (),
        *,
        newest: int = SSL.TLS1_3_VERSION,
        tickets: bool = True,
    ) -> None:
        self.resumed: list[bool] = []
        # Not the connections' app data: that is Twisted's.
        self._handshakes: WeakKeyDictionary[SSL.Connection, _Handshake] = WeakKeyDictionary()
        key = load_pem_private_key(certificate.key_pem, password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self.context.use_certificate(_x509(certificate))
        self.context.use_privatekey(key)
        for one in intermediates:
            self.context.add_extra_chain_cert(_x509(one))
        self.context.set_session_id(b"fake agent")
        self.context.set_max_proto_version(newest)
        if newest < SSL.TLS1_2_VERSION:
            self.context.set_cipher_list(b"ALL:@SECLEVEL=0")
        if not tickets:
            self.context.set_options(SSL.OP_NO_TICKET)
            self.context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        self.context.set_info_callback(self._informed)

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Twisted: the OpenSSL connection to use."""
        connection = SSL.Connection(self.context, None)
        self._handshakes[connection] = _Handshake()
        return connection

    def _informed(self, connection: SSL.Connection, where: int, _value: int) -> None:
        # pyOpenSSL doesn't tell of resumption, but then no certificate is sent.
        handshake = self._handshakes[connection]
        if b"write certificate" in connection.get_state_string():
            handshake.showed_certificate = True
        if where & SSL.SSL_CB_HANDSHAKE_DONE and not handshake.done:
            handshake.done = True
            self.resumed.append(not handshake.showed_certificate)


def over_tls(agent: ServerFactory, tls: AgentTLS, clock: IReactorTime) -> TLSMemoryBIOFactory:
    """Let an agent speak TLS."""
    return TLSMemoryBIOFactory(tls, False, agent, clock)


def _x509(certificate: Certificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.certificate_pem)
