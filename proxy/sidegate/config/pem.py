"""Loads the PEM files that a configuration names into a TLS context, and says what is wrong with them.

Listeners and the connections to servers use it. OpenSSL's own words ("PEM lib") say neither which of two files is meant
nor what it contains instead.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from sidegate.errors import SidegateError

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_DER = b"\x30\x82"
"""How a certificate or key in DER begins: a sequence with a length of two bytes (X.690 8.1)."""


class PemError(SidegateError):
    """A file cannot be used. ``key``: the key that names it, ``cert``, ``key`` or ``ca``; empty: both of a pair.

    ``denied``: the path of a file that this process may not read (``ipc/permissions.py`` says why); empty: it may.
    """

    def __init__(self, key: str, message: str, denied: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.denied = denied


def load_pair(context: ssl.SSLContext, cert: str, key: str) -> None:
    """Load a certificate chain and its private key.

    :raises PemError: a file cannot be read, has other content, or they do not belong together.
    """
    chain, private = _read("cert", cert, "certificate"), _read("key", key, "private key")
    try:
        context.load_cert_chain(cert, key, _no_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message = f"the private key {key} does not belong to the certificate {cert}"
            if number := _number_of_key(cert, private):
                message += f", but to certificate {number} of that file; the server's certificate has to be the first"
            raise PemError("key", message) from error
        if not any(label.endswith("CERTIFICATE") for label in _labels(chain)):
            raise PemError("cert", _other(cert, chain, "certificate")) from error
        if not any(label.endswith("PRIVATE KEY") for label in _labels(private)):
            raise PemError("key", _other(key, private, "private key")) from error
        message = f"{cert} and {key} are not a PEM certificate and private key"
        raise PemError("", f"{message} ({error.reason or error})") from error
    except ValueError as error:
        raise PemError("key", f"{key}: {error}") from error


def authorities_error(ca: str, error: OSError) -> PemError:
    """What is wrong with the file ``ca`` of authorities, which OpenSSL could not load (``ssl.SSLError`` is an OSError).

    :raises PemError: it cannot be read, either.
    """
    content = _read("ca", ca, "CA certificates")
    return PemError("ca", _other(ca, content, "CA certificates") if isinstance(error, ssl.SSLError) else str(error))


def _no_passphrase() -> str:
    raise ValueError("the private key is encrypted; give one without a passphrase")


def _read(key: str, path: str, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        denied = path if isinstance(error, PermissionError) else ""
        raise PemError(key, f"cannot read the {what} {path}: {error.strerror}", denied) from error


def _number_of_key(cert: str, private: bytes) -> int:
    """The number, from 1, of the certificate in the file ``cert`` that a private key belongs to; 0: of none."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - only after an error, and 10 MiB
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    from sidegate.config.certificates import read_certificates  # noqa: PLC0415

    try:
        key = load_pem_private_key(private, None).public_key()
        numbered = enumerate(read_certificates(cert), 1)
        return next((number for number, certificate in numbered if certificate.public_key() == key), 0)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return 0


def _labels(content: bytes) -> list[str]:
    """The labels of the file's parts (RFC 7468): such as ``PRIVATE KEY``."""
    return [label.decode("ascii") for label in _BEGIN.findall(content)]


def _other(path: str, content: bytes, what: str) -> str:
    """``path`` contains no ``what``, and what it contains."""
    text = f"{path} contains no {what} in PEM format"
    if labels := list(dict.fromkeys(_labels(content))):
        text += f", but: {', '.join(labels)}"
    elif content.startswith(_DER):
        text += "; it looks like DER, which `openssl` converts: `openssl x509 -inform der`, `openssl pkey -inform der`"
    return text
