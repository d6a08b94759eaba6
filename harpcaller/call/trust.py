"""Which agents are believed: the certificate policy, as a pure decision.

* with CAs: the chain leads to one of them;
* with known certificates: the leaf is one of these, byte for byte; it counts for itself
  alone and is nobody's CA;
* with both, either will do; with neither, any certificate;
* a host whose entry in the registry tells a fingerprint has that certificate and no other; one
  whose entry tells a name has one that a CA signed for that name, or a known one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from service_identity.cryptography import extract_patterns
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity

from harpcaller.config.problems import ConfigurationError, Problem
from harpcaller.interfaces import Host

_block = re.compile(
    rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----.*?"
    rb"(?:-----END (?:TRUSTED |X509 )?CERTIFICATE-----|\Z)",
    re.DOTALL,
)


@attrs.frozen
class Trust:
    """Who is believed.

    Attributes:
        authorities: The CAs, or None if the policy has none.
        known: The known leaf certificates (DER), or None if the policy has none.
        verify_hostname: Whether a certificate that a CA signed must name the host, too.
    """

    authorities: tuple[x509.Certificate, ...] | None = None
    known: frozenset[bytes] | None = None
    verify_hostname: bool = False

    @property
    def anybody(self) -> bool:
        """Whether every certificate is accepted."""
        return self.authorities is None and self.known is None


@attrs.frozen
class Presented:
    """What an agent showed.

    Attributes:
        certificate: Its leaf.
        chain_fault: Why the chain doesn't lead to a CA of the policy; None if it does.
    """

    certificate: x509.Certificate
    chain_fault: str | None


def objection(trust: Trust, presented: Presented, host: Host) -> str | None:
    """Decide: give the reason not to talk to this agent, or None."""
    if host.tls.fingerprint is not None:
        shown = presented.certificate.fingerprint(SHA256()).hex()
        if shown == host.tls.fingerprint:
            return None
        return "the agent's certificate is not the one that the registry tells"
    if trust.anybody and host.tls.name is None:
        return None
    if trust.known is not None and presented.certificate.public_bytes(Encoding.DER) in trust.known:
        return None
    if trust.authorities is None:
        if trust.anybody:
            return "the registry tells the certificate's name, but no CA to believe is configured"
        return "the agent's certificate is not one of the known ones"
    if presented.chain_fault is not None:
        return f"the agent's certificate is not acceptable: {presented.chain_fault}"
    if host.tls.name is not None:
        if _names(presented.certificate, [host.tls.name]):
            return None
        return f"the agent's certificate doesn't name {host.tls.name} in its subjectAltName"
    if trust.verify_hostname and not _names(presented.certificate, [host.hostname, host.address]):
        return (
            f"the agent's certificate names neither {host.hostname} nor {host.address}"
            " in its subjectAltName"
        )
    return None


def _names(certificate: x509.Certificate, names: Iterable[str]) -> bool:
    """Tell whether the certificate names the host by one of these names or addresses.

    Fails closed: service_identity tells of a certificate without a subjectAltName by an
    exception of another family than that of one with the wrong names.
    """
    for name in names:
        try:
            wanted = IPAddress_ID(name) if _is_address(name) else DNS_ID(name)
            if verify_service_identity(extract_patterns(certificate), [wanted], []):
                return True
        except Exception:  # noqa: BLE001, S112  # whatever it is, it is no proof of a name
            continue
    return False


def _is_address(name: str) -> bool:
    return ":" in name or name.replace(".", "").isdigit()


def load_trust(
    ca_file: str | None,
    known_certs_file: str | None,
    verify_hostname: bool,
    read: Callable[[str], bytes],
) -> Trust:
    """Read the policy's files.

    A known-certs file that doesn't exist (yet) is an empty one.

    Args:
        read: Gives a file's content, or raises OSError.

    Raises:
        ConfigurationError: A file can't be read, or has something in it that is no
            certificate; every problem is named with its file and line.
    """
    problems: list[Problem] = []

    def certificates(path: str, *, may_be_absent: bool) -> tuple[x509.Certificate, ...]:
        try:
            content = read(path)
        except FileNotFoundError as error:
            if not may_be_absent:
                problems.append(Problem(path, None, f"cannot read it: {error.strerror}"))
            return ()
        except OSError as error:
            problems.append(Problem(path, None, f"cannot read it: {error.strerror}"))
            return ()
        if not content.strip() and not may_be_absent:
            problems.append(Problem(path, None, "expected PEM certificates, found none"))
        return tuple(_certificates(path, content, problems))

    authorities = None if ca_file is None else certificates(ca_file, may_be_absent=False)
    known = None if known_certs_file is None else certificates(known_certs_file, may_be_absent=True)
    if problems:
        raise ConfigurationError(problems)
    return Trust(
        authorities,
        None if known is None else frozenset(one.public_bytes(Encoding.DER) for one in known),
        verify_hostname,
    )


def _certificates(path: str, content: bytes, problems: list[Problem]) -> Iterator[x509.Certificate]:
    for block in _block.finditer(content):
        line = content.count(b"\n", 0, block.start()) + 1
        try:
            yield x509.load_pem_x509_certificate(block.group())
        except (ValueError, x509.InvalidVersion):
            problems.append(Problem(path, line, "this certificate can't be read"))
    if not _block.search(content) and content.strip():
        problems.append(Problem(path, 1, "expected PEM certificates, found something else"))
