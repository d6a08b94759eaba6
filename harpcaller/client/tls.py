"""Which agents are believed to be one; the same for every face.

The TLS library is imported when it is first needed, because most programs never talk to an
agent and it takes longer to load than the rest of this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harpcaller.client.channel import why
from harpcaller.client.exceptions import HarpException

if TYPE_CHECKING:
    import ssl


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
