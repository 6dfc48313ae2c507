"""Cipher suites by the names that IANA has registered, and by OpenSSL's."""

from __future__ import annotations

from collections.abc import Iterable

# TLS 1.2 with forward secrecy and authenticated encryption only (RFC 9325 4.2); all TLS 1.3 suites are allowed.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

_TLS12 = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}


def cipher_list(names: Iterable[str]) -> str:
    """Those of TLS 1.2 as OpenSSL writes them; empty if none is."""
    return ":".join(_TLS12[name] for name in names if name in _TLS12)


def suite_list(names: Iterable[str]) -> str:
    """Those of TLS 1.3, whose names are IANA's; empty if none is."""
    return ":".join(name for name in names if name not in _TLS12)
