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
    """The context of new connections; :meth:`load` replaces it, connections keep theirs.

    TLS 1.2 and newer, with session tickets, since a caller comes back often.
    """

    def __init__(self) -> None:
        self._context: SSL.Context | None = None

    def load(self, certfile: str, keyfile: str, client_ca_file: str | None) -> None:
        """Read the certificate and its key.

        Args:
            certfile: The certificate, and what it is signed by, as PEM.
            keyfile: The private key as PEM, without a passphrase.
            client_ca_file: If given, callers need a certificate signed by one of these.

        Raises:
            NotUsable: That isn't possible; what was loaded before stays in force.
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
        self._context = context

    def getContext(self) -> SSL.Context:
        """Twisted: the context for a new connection."""
        assert self._context is not None
        return self._context


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
