"""The agent's side of TLS: its certificate, and what a connection must be like."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    trustRootFromCertificates,
)
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

    TLS 1.2 and newer, with session tickets, since a caller comes back often.

    Args:
        certfile: The certificate, and what it is signed by, as PEM.
        keyfile: The private key as PEM, without a passphrase.
        client_ca_file: If given, callers need a certificate signed by one of these.

    Raises:
        NotUsable: That isn't possible.
    """
    chain = _certificates(certfile)
    key = _key(keyfile)
    trusted = None
    if client_ca_file is not None:
        trusted = trustRootFromCertificates(
            [Certificate(one) for one in _certificates(client_ca_file)]
        )
    options = CertificateOptions(
        privateKey=key,
        certificate=chain[0],
        extraCertChain=chain[1:],
        trustRoot=trusted,
        raiseMinimumTo=TLSVersion.TLSv1_2,
        enableSessionTickets=True,
    )
    try:
        context = options.getContext()
        context.check_privatekey()
    except SSL.Error as error:
        raise NotUsable(f"{keyfile}: not the key of {certfile} ({_reason(error)})") from None
    return context


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise NotUsable(f"{path}: {error.strerror}") from None


def _certificates(path: str) -> list[X509]:
    try:
        found = x509.load_pem_x509_certificates(_read(path))
    except ValueError:
        raise NotUsable(f"{path}: expected PEM certificates, found none") from None
    return [X509.from_cryptography(one) for one in found]


def _key(path: str) -> PKey:
    pem = _read(path)
    try:
        key = load_pem_private_key(pem, password=None)
        return PKey.from_cryptography_key(key)  # type: ignore[arg-type]  # it checks the kind
    except (TypeError, ValueError):
        raise NotUsable(f"{path}: expected a PEM private key without a passphrase") from None


def _reason(error: SSL.Error) -> str:
    try:
        return str(error.args[0][0][2])
    except (IndexError, TypeError):
        return "no reason given"
