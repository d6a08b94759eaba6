"""A server's side of TLS: its certificate, and what a connection must be like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.ssl import CertificateOptions, TLSVersion
from zope.interface import implementer

from harpcaller.errors import HarpcallerError


class NotUsable(HarpcallerError):
    """A certificate or key can't be used; the message says which and why."""


@implementer(IOpenSSLContextFactory)
class ServerTLS:
    """What new connections are made with; those that are open keep what they have.

    Args:
        context: From :func:`load_context`; may be replaced at any time.
    """

    def __init__(self, context: SSL.Context) -> None:
        self.context = context

    def getContext(self) -> SSL.Context:
        """Twisted: the context for a new connection."""
        return self.context


@attrs.frozen
class Identity:
    """What a server shows, and whom it asks for the same.

    Args:
        certificate: With what it is signed by, as PEM.
        key: The private key, likewise.
        client_ca: If given, callers need a certificate signed by one of these.
        certfile: Where the certificate comes from, for messages.
        keyfile: And the key.
        client_ca_file: And the others.
    """

    certificate: bytes
    key: bytes = attrs.field(repr=False)
    client_ca: bytes | None = None
    certfile: str = "the certificate"
    keyfile: str = "the key"
    client_ca_file: str | None = None


def read_identity(certfile: str, keyfile: str, client_ca_file: str | None) -> Identity:
    """Read the certificate and its key.

    Args:
        certfile: The certificate, and what it is signed by, as PEM.
        keyfile: The private key as PEM, without a passphrase.
        client_ca_file: If given, callers need a certificate signed by one of these.

    Raises:
        NotUsable: One can't be read.
    """
    client_ca = None if client_ca_file is None else _read(client_ca_file)
    return Identity(_read(certfile), _read(keyfile), client_ca, certfile, keyfile, client_ca_file)


def make_context(identity: Identity) -> SSL.Context:
    """Make what connections are made with, without any file.

    TLS 1.2 and newer, with session tickets, since a caller comes back often; but without where it
    must show a certificate.

    Raises:
        NotUsable: That isn't possible.
    """
    certfile, keyfile = identity.certfile, identity.keyfile
    certificate, *signers = _certificates(certfile, identity.certificate)
    key = _key(keyfile, identity.key)
    options = CertificateOptions(raiseMinimumTo=TLSVersion.TLSv1_2, enableSessionTickets=True)
    context = options.getContext()
    if identity.client_ca is not None:
        store = context.get_cert_store()
        assert store is not None
        for authority in _certificates(str(identity.client_ca_file), identity.client_ca):
            store.add_cert(X509.from_cryptography(authority))
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        # A resumed session is one whose certificates nobody looks at again: it could be renewed
        # for ever after they have expired.
        context.set_options(SSL.OP_NO_TICKET)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    try:
        context.use_certificate(certificate)
        for signer in signers:
            context.add_extra_chain_cert(signer)
        context.use_privatekey(key)
        context.check_privatekey()
    except SSL.Error as error:
        raise NotUsable(f"{keyfile}: not the key of {certfile} ({_reason(error)})") from None
    return context


def load_context(certfile: str, keyfile: str, client_ca_file: str | None) -> SSL.Context:
    """Read the certificate and its key, and make what connections are made with.

    See :func:`read_identity` and :func:`make_context`.

    Raises:
        NotUsable: That isn't possible.
    """
    return make_context(read_identity(certfile, keyfile, client_ca_file))


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise NotUsable(f"{path}: {error.strerror}") from None


def _certificates(path: str, content: bytes) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(content)
    except (ValueError, x509.InvalidVersion):
        raise NotUsable(f"{path}: expected PEM certificates, found none") from None
    return found


def _key(path: str, content: bytes) -> Any:
    try:
        return load_pem_private_key(content, password=None)
    except (TypeError, ValueError):
        raise NotUsable(f"{path}: expected a PEM private key without a passphrase") from None


def _reason(error: SSL.Error) -> str:
    try:
        return str(error.args[0][0][2])
    except (IndexError, TypeError):
        return "no reason given"
