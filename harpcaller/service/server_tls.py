"""A server's side of TLS: its certificate, and what a connection must be like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
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


def load_context(certfile: str, keyfile: str, client_ca_file: str | None) -> SSL.Context:
    """Read the certificate and its key.

    TLS 1.2 and newer, with session tickets, since a caller comes back often; but without where it
    must show a certificate.

    Args:
        certfile: The certificate, and what it is signed by, as PEM.
        keyfile: The private key as PEM, without a passphrase.
        client_ca_file: If given, callers need a certificate signed by one of these.

    Raises:
        NotUsable: That isn't possible.
    """
    certificate, *signers = _certificates(certfile)
    key = _key(keyfile)
    options = CertificateOptions(raiseMinimumTo=TLSVersion.TLSv1_2, enableSessionTickets=True)
    context = options.getContext()
    if client_ca_file is not None:
        _ = _certificates(client_ca_file)  # OpenSSL itself wouldn't say what is wrong
        context.load_verify_locations(client_ca_file)
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


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise NotUsable(f"{path}: {error.strerror}") from None


def _certificates(path: str) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(_read(path))
    except (ValueError, x509.InvalidVersion):
        raise NotUsable(f"{path}: expected PEM certificates, found none") from None
    return found


def _key(path: str) -> Any:
    pem = _read(path)
    try:
        return load_pem_private_key(pem, password=None)
    except (TypeError, ValueError):
        raise NotUsable(f"{path}: expected a PEM private key without a passphrase") from None


def _reason(error: SSL.Error) -> str:
    try:
        return str(error.args[0][0][2])
    except (IndexError, TypeError):
        return "no reason given"
