"""A certificate authority for tests, and certificates that it signs."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True)
class Pair:
    """PEM files of a certificate and its private key."""

    cert: Path
    key: Path

    def as_yaml(self) -> dict[str, str]:
        """The pair as an entry of ``tls.certificates``."""
        return {"cert": str(self.cert), "key": str(self.key)}


class Authority:
    """Signs certificates into a folder. ``ca`` is the PEM file that clients and servers trust."""

    def __init__(self, folder: Path, name: str = "Sidegate tests") -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(self._sign(builder).public_bytes(serialization.Encoding.PEM))

    def server(self, *names: str, days: int = 1, key: Key | None = None) -> Pair:
        """A certificate for host names (also ``*.example.com``) and IP addresses; the first name is its file's.

        It is valid for ``days`` from an hour ago on; if the number is negative, it expired so many days ago. ``key``:
        by default a new one on P-256.
        """
        names_of = [_general_name(name) for name in names]
        return self._issue(names[0], names_of, ExtendedKeyUsageOID.SERVER_AUTH, days, key)

    def client(self, name: str) -> Pair:
        """A client certificate with ``name`` as its common name."""
        return self._issue(name, [x509.DNSName(name)], ExtendedKeyUsageOID.CLIENT_AUTH)

    def _issue(
        self,
        common_name: str,
        names: list[x509.GeneralName] | None,
        usage: x509.ObjectIdentifier,
        days: int = 1,
        key: Key | None = None,
    ) -> Pair:
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = self._builder(subject, key.public_key(), days)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
        pair = Pair(self._path(common_name, "cert"), self._path(common_name, "key"))
        pair.cert.write_bytes(self._sign(builder).public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return pair

    def _path(self, name: str, kind: str) -> Path:
        stem = name.replace("*", "any").replace(":", "-")
        number = len(list(self._folder.glob(f"{stem}.*.{kind}.pem")))
        return self._folder / f"{stem}.{number}.{kind}.pem"

    def _builder(self, subject: x509.Name, key: PublicKey, days: int = 1) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(subject_name=subject, issuer_name=self._name, public_key=key)
        builder = builder.serial_number(x509.random_serial_number())
        end = now + datetime.timedelta(days=days)
        builder = builder.not_valid_before(min(now, end) - datetime.timedelta(hours=1))
        builder = builder.not_valid_after(end)
        # Python 3.13 verifies strictly (RFC 5280): both key identifiers have to be there.
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return builder.add_extension(authority, critical=False)

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._key, hashes.SHA256())


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
