"""The names in certificates, which the ssl module does not report.

``contexts.py`` imports it only if certificates are chosen by name or clients send theirs: ``cryptography`` takes about
10 MiB in every process that imports it.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from sidegate.config.certificates import dns_names


def certificate_names(path: str) -> list[str]:
    """The DNS names of a certificate file's subjectAltName, in lower case."""
    return dns_names(x509.load_pem_x509_certificate(Path(path).read_bytes()))


def subject(der: bytes) -> str | None:
    """The subject's distinguished name as RFC 4514 writes it; None if it cannot be read.

    OpenSSL accepts certificates that ``cryptography`` refuses: a T61String in Latin-1, for example, as old authorities
    write names.
    """
    try:
        return x509.load_der_x509_certificate(der).subject.rfc4514_string()
    except ValueError:
        return None
