"""Loads the files of a listener's TLS settings into a context of Python's ``ssl``, which says best what is wrong.

Every engine uses it: another library's errors would not name the file.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator

from sidegate.config.pem import PemError, authorities_error, load_pair
from sidegate.config.schema import Certificate, Tls
from sidegate.errors import SidegateError
from sidegate.ipc import permissions


class TlsError(SidegateError):
    """A certificate, key or CA file cannot be used. ``field`` is the configuration key that names the file."""

    def __init__(self, field: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.field = field


def load_certificate(context: ssl.SSLContext, certificate: Certificate, index: int) -> None:
    """Load a chain with its key. ``index``: its position in ``tls.certificates``. Raises ``TlsError``."""
    with _named(("certificates", index)):
        load_pair(context, certificate.cert, certificate.key)


def load_authorities(context: ssl.SSLContext, tls: Tls) -> None:
    """Load the authorities that may issue client certificates. Raises ``TlsError``."""
    client = tls.client_certificates
    if client is None or client.mode == "none":
        return
    ca = client.ca or ""  # there is one: the mode needs it
    with _named(("clientCertificates",)):
        try:
            context.load_verify_locations(ca)
        except OSError as error:
            raise authorities_error(ca, error) from error


@contextlib.contextmanager
def _named(place: tuple[str | int, ...]) -> Iterator[None]:
    """Report a file that cannot be used as one of the keys at ``place``."""
    try:
        yield
    except PemError as error:
        message = f"{error}; {permissions.denied(error.denied)}" if error.denied else str(error)
        raise TlsError((*place, error.key) if error.key else place, message) from error
