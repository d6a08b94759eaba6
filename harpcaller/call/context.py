"""TLS towards agents: one context for a generation of trust, and its sessions.

Everything that OpenSSL finds wrong with a chain is only noted during the handshake; the
decision is :func:`.trust.objection`'s, before a byte of the request is sent.  A
connection whose session was resumed shows no chain: its session was kept by
:meth:`AgentContext.remember` after the decision fell well, in this same generation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from harpcaller.call.trust import Presented, Trust, objection
from harpcaller.errors import HarpcallerError
from harpcaller.interfaces import Host, HostTLS


class UnusableIdentity(HarpcallerError):
    """The dispatcher's own certificate or key can't be used; the message says which and why."""


_Thing = TypeVar("_Thing")

#: What sessions are kept by: the place, and what is special about its certificate.
_Key = tuple[str, str, int, HostTLS]

#: The codes of X509_STORE_CTX_get_error(3) that a wrong setup brings most often.
_FAULTS = {
    2: "it was not signed by one of the CAs",
    7: "its signature is wrong",
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is self-signed, and not one of the CAs",
    19: "its chain ends in a CA that isn't trusted",
    20: "it was not signed by one of the CAs",
    21: "it was not signed by one of the CAs",
    25: "its chain is longer than a CA in it allows",
    26: "it is not meant for a server",
    79: "a certificate in its chain is no CA",
}

#: What may be announced as the server's name (RFC 6066): a name, and no address.
_server_name = re.compile(r"(?=.{1,253}\Z)[\w-]{1,63}(\.[\w-]{1,63})*", re.ASCII).fullmatch
_all_numeric = re.compile(r"[0-9.]+").fullmatch


@attrs.define(eq=False)
class _Verdict:
    """What OpenSSL said of a chain while it was checked."""

    checked: bool = False
    fault: str | None = None


@attrs.define
class _KeptSession:
    session: SSL.Session
    expires: float


@attrs.frozen
class _Believed:
    """What was believed of an agent last: the certificates, DER, and until when they hold."""

    chain: tuple[bytes, ...]
    fault: str | None
    expires: float


@attrs.frozen
class Identity:
    """What agents are shown of the dispatcher, in PEM: its certificate with those of its signers
    after it, and its key."""

    certificate: bytes
    key: bytes = attrs.field(repr=False)


class AgentContext:
    """What the TLS connections of one generation of trust share.

    Args:
        trust: Who is believed; a changed policy gets a context of its own, so that no
            session outlives what it was accepted by.
        now: The wall clock, in Unix seconds.
        identity: What agents are shown that ask for it; None for nothing.

    Raises:
        UnusableIdentity: It can't be shown.
    """

    #: How many agents' sessions are kept.
    MAX_SESSIONS = 10_000

    def __init__(
        self, trust: Trust, now: Callable[[], float], identity: Identity | None = None
    ) -> None:
        self.trust = trust
        self.identity = identity
        self._now = now
        self._sessions: dict[_Key, _KeptSession] = {}
        #: Reading certificates takes a tenth of a handshake, and an agent shows the same again.
        self._believed: dict[_Key, _Believed] = {}
        # Not the connection's app data: that is Twisted's.
        self._verdicts: WeakKeyDictionary[SSL.Connection, _Verdict] = WeakKeyDictionary()
        self._context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self._context.set_min_proto_version(SSL.TLS1_2_VERSION)
        self._context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
        self._context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        # Connections of calls that wait for their end hold no buffers meanwhile.
        self._context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        self._context.set_verify(SSL.VERIFY_PEER, self._note)
        store = self._context.get_cert_store()
        assert store is not None
        # An intermediate CA among the authorities is as good as a root.
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        for authority in trust.authorities or ():
            store.add_cert(crypto.X509.from_cryptography(authority))
        if identity is not None:
            self._show(identity)

    def _show(self, identity: Identity) -> None:
        try:
            first, *signers = x509.load_pem_x509_certificates(identity.certificate)
            self._context.use_certificate(first)
            for signer in signers:
                self._context.add_extra_chain_cert(signer)
        except (ValueError, x509.InvalidVersion, SSL.Error):
            raise UnusableIdentity("cert_file: expected PEM certificates") from None
        try:
            key = load_pem_private_key(identity.key, password=None)
            # One of a kind that OpenSSL doesn't use is a TypeError.
            self._context.use_privatekey(cast(Any, key))
            self._context.check_privatekey()
        except (TypeError, ValueError):
            wanted = "expected a PEM private key without a passphrase"
            raise UnusableIdentity(f"key_file: {wanted}") from None
        except SSL.Error:
            raise UnusableIdentity("key_file: not the key of cert_file") from None

    def is_like(self, other: AgentContext) -> bool:
        """Tell whether another believes and shows the same, so that sessions may go on."""
        return (self.trust, self.identity) == (other.trust, other.identity)

    def connection(self, host: Host) -> AgentTLS:
        """Prepare the TLS side of a connection to this host."""
        return AgentTLS(self, host)

    def _note(
        self, connection: SSL.Connection, _at_fault: crypto.X509, code: int, depth: int, good: int
    ) -> bool:
        """Note what OpenSSL thinks of a certificate of the chain, and let it go on."""
        verdict = self._verdicts.get(connection)
        if verdict is None:
            return False
        verdict.checked = True
        if not good and verdict.fault is None:
            verdict.fault = _FAULTS.get(code, f"OpenSSL's verification error {code}")
            if depth:
                verdict.fault += f" (certificate {depth} of the chain)"
        return True

    def _open(self, host: Host) -> tuple[SSL.Connection, _Verdict, _KeptSession | None]:
        """Make a connection, and give the session that it may resume."""
        connection = SSL.Connection(self._context, None)
        connection.set_connect_state()
        verdict = self._verdicts[connection] = _Verdict()
        name = host.tls.name or host.hostname
        if _server_name(name) and not _all_numeric(name):
            connection.set_tlsext_host_name(name.encode("ascii"))
        kept = self._sessions.get(_key(host))
        if kept is not None and kept.expires <= self._now():
            del self._sessions[_key(host)]
            kept = None
        if kept is not None:
            connection.set_session(kept.session)
        return connection, verdict, kept

    def _judge(
        self, host: Host, connection: SSL.Connection, fault: str | None
    ) -> tuple[str | None, float]:
        """Decide on the certificates that an agent shows: an objection, and when they are over."""
        chain = tuple(
            crypto.dump_certificate(crypto.FILETYPE_ASN1, one)
            for one in connection.get_verified_chain() or ()
        )
        believed = self._believed.get(_key(host))
        if believed is not None and (believed.chain, believed.fault) == (chain, fault):
            return None, believed.expires
        leaf = connection.get_peer_certificate(as_cryptography=True)
        ends = [x509.load_der_x509_certificate(one).not_valid_after_utc for one in chain]
        if leaf is None or not ends:
            return "the agent has shown no certificate", 0.0
        expires = min(ends).timestamp()
        found = objection(self.trust, Presented(leaf, fault), host)
        if found is None:
            _put(self._believed, host, _Believed(chain, fault, expires), self.MAX_SESSIONS)
        return found, expires

    def _remember(self, host: Host, connection: SSL.Connection, expires: float) -> None:
        session = connection.get_session()
        if session is not None:
            _put(self._sessions, host, _KeptSession(session, expires), self.MAX_SESSIONS)


def _put(kept: dict[_Key, _Thing], host: Host, thing: _Thing, most: int) -> None:
    """Keep something of a host; if there are too many, not that which was renewed longest ago."""
    kept.pop(_key(host), None)
    if len(kept) >= most:
        del kept[next(iter(kept))]
    kept[_key(host)] = thing


def _key(host: Host) -> _Key:
    return host.hostname, host.address, host.port, host.tls


@implementer(IOpenSSLClientConnectionCreator)
class AgentTLS:
    """The TLS side of one connection to an agent."""

    def __init__(self, context: AgentContext, host: Host) -> None:
        #: The generation of trust that it was begun in.
        self.context = context
        self._host = host
        self._connection: SSL.Connection | None = None
        self._verdict = _Verdict()
        self._resumable: _KeptSession | None = None
        self._expires = 0.0

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Give Twisted the OpenSSL connection to use."""
        self._connection, self._verdict, self._resumable = self.context._open(self._host)
        return self._connection

    def objection(self) -> str | None:
        """Decide on the agent, once the handshake is done; None means it is believed."""
        assert self._connection is not None
        if not self._verdict.checked:
            # Only a resumed session goes without a check, and only one that we kept.
            if self._resumable is None:
                return "the agent's certificate was not checked"
            self._expires = self._resumable.expires
            return None
        try:
            found, self._expires = self.context._judge(
                self._host, self._connection, self._verdict.fault
            )
        except Exception:  # noqa: BLE001  # of no one family; OpenSSL is the more lenient reader
            return "the agent's certificate can't be read"
        return found

    def has_expired(self) -> bool:
        """Tell whether a certificate of the agent's chain is over by now."""
        return self._expires <= self.context._now()

    def remember(self) -> None:
        """Keep the session for the next connection; the agent has sent data by now."""
        assert self._connection is not None
        self.context._remember(self._host, self._connection, self._expires)
