"""A throw-away certificate authority, for tests and for trying things out.

Keys are P-256, because making one takes a millisecond.  Nothing here is fit for
anything but tests: the keys are unencrypted and nobody guards them.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_ONE_DAY = timedelta(days=1)


@attrs.frozen
class CertificateFiles:
    """Where a certificate and its key were written."""

    certificate: Path
    key: Path


@attrs.frozen
class Certificate:
    """A certificate and its private key, both as PEM."""

    certificate_pem: bytes
    key_pem: bytes = attrs.field(repr=False)

    def write(self, folder: Path | str, name: str) -> CertificateFiles:
        """Write ``name.pem`` and ``name.key`` (mode 0600) into an existing folder."""
        files = CertificateFiles(Path(folder, f"{name}.pem"), Path(folder, f"{name}.key"))
        files.certificate.write_bytes(self.certificate_pem)
        descriptor = os.open(files.key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(self.key_pem)
        return files


@attrs.frozen
class Authority(Certificate):
    """A CA; ``certificate_pem`` is what those who trust it need."""

    def issue(
        self,
        common_name: str = "localhost",
        *,
        names: Sequence[str] | None = ("localhost", "127.0.0.1"),
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
        client: bool = False,
    ) -> Certificate:
        """Issue a leaf certificate.

        Args:
            common_name: The subject's common name, which no modern peer looks at.
            names: DNS names and IP addresses for subjectAltName; None leaves the whole
                extension out.
            valid_from: Yesterday if not given.
            valid_until: Tomorrow if not given.
            client: Whether it is for a client; for a server otherwise.
        """
        ca = x509.load_pem_x509_certificate(self.certificate_pem)
        ca_key = load_pem_private_key(self.key_pem, password=None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = (
            _builder(common_name, valid_from, valid_until)
            .issuer_name(ca.subject)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()),
                critical=False,
            )
        )
        if names is not None:
            alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        return Certificate(_pem(builder.sign(ca_key, SHA256())), _key_pem(key))

    def issue_expired(self, common_name: str = "localhost") -> Certificate:
        """Issue a server's certificate that ran out yesterday."""
        today = datetime.now(timezone.utc)
        return self.issue(
            common_name, valid_from=today - 3 * _ONE_DAY, valid_until=today - _ONE_DAY
        )

    def issue_authority(self, common_name: str = "Throw-away intermediate CA") -> Authority:
        """Issue an intermediate CA; this one must have been made to allow some."""
        ca = x509.load_pem_x509_certificate(self.certificate_pem)
        ca_key = load_pem_private_key(self.key_pem, password=None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _authority_builder(common_name, key, path_length=0).issuer_name(ca.subject)
        return Authority(_pem(builder.sign(ca_key, SHA256())), _key_pem(key))


def make_authority(common_name: str = "Throw-away CA", *, intermediates: int = 0) -> Authority:
    """Make a CA of its own, valid from yesterday till tomorrow.

    Args:
        common_name: Its name.
        intermediates: How many CAs may stand between it and a leaf.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _authority_builder(common_name, key, path_length=intermediates)
    certificate = builder.issuer_name(_name(common_name)).sign(key, SHA256())
    return Authority(_pem(certificate), _key_pem(key))


def make_self_signed(
    common_name: str = "localhost", names: Sequence[str] = ("localhost", "127.0.0.1")
) -> Certificate:
    """Make a server's certificate that nobody else has signed, as for a known-certs file."""
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
    builder = (
        _builder(common_name, None, None)
        .issuer_name(_name(common_name))
        .public_key(key.public_key())
        .add_extension(alternatives, critical=False)
    )
    return Certificate(_pem(builder.sign(key, SHA256())), _key_pem(key))


def of_unknown_version(certificate: Certificate) -> Certificate:
    """Give the same certificate in a version that there isn't; some libraries read it."""
    der = x509.load_pem_x509_certificate(certificate.certificate_pem).public_bytes(Encoding.DER)
    odd = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1)
    text = b64encode(odd)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    head, end = b"-----BEGIN CERTIFICATE-----\n", b"\n-----END CERTIFICATE-----\n"
    return Certificate(head + b"\n".join(lines) + end, certificate.key_pem)


def _authority_builder(
    common_name: str, key: ec.EllipticCurvePrivateKey, *, path_length: int
) -> x509.CertificateBuilder:
    return (
        _builder(common_name, None, None)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_ca_usage(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _builder(
    common_name: str, valid_from: datetime | None, valid_until: datetime | None
) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid_from or now - _ONE_DAY)
        .not_valid_after(valid_until or now + _ONE_DAY)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _ca_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
