"""What is wrong with certificates that can be loaded, and when they expire.

``pem.py`` finds files that cannot be loaded; this module skips them. ``sidegate check`` uses it, and the process that
loads the configuration of a service. Both end soon: the module imports cryptography, which takes about 10 MiB.

A certificate outside its validity is an error of ``sidegate check``, because clients refuse the connection. It is no
error of a start, which would make the outage larger: nginx, Caddy, Envoy and HAProxy start with it, too. The names of
certificates are compared with the host names of the routes, and not listener by listener, because routes belong to no
listener: a name is missing if no certificate has it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from sidegate.config.backends import BackendConfig
from sidegate.config.checks import path_text
from sidegate.config.listeners import ListenerConfig
from sidegate.config.routes import RouteConfig
from sidegate.errors import ConfigPath, Problems

Place = tuple[ConfigPath, str]
"""A path in the configuration, and the file that it names."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """``refused``: certificates that clients refuse now. ``warnings``: what only some clients or requests meet.

    ``expiry``: Unix times by the listener's name and the file of the certificate.
    """

    refused: Problems = field(default_factory=list)
    warnings: Problems = field(default_factory=list)
    expiry: dict[tuple[str, str], float] = field(default_factory=dict)


def inspect(
    listeners: Mapping[int, ListenerConfig],
    backends: Mapping[str, BackendConfig],
    routes: Sequence[RouteConfig],
    now: float,
) -> Inspection:
    """Inspect the certificates of listeners and ``h2`` backends. ``now``: Unix time.

    The development certificate (``selfSigned``) is left out: every start renews it.
    """
    moment = datetime.fromtimestamp(now, UTC)
    servers = list(_server_places(listeners))
    places = [*servers, *_client_places(backends)]
    chains = {file: read_certificates(file) for _, file in places}
    found = Inspection()
    for paths, file in _by_file(places):
        _inspect_chain(found, paths, file, chains[file], moment)
    for paths, file in _by_file(_authority_places(listeners, backends)):
        _inspect_authorities(found, paths, file, moment)
    leaves = {path: chains[file][0] for path, file in servers if chains[file]}
    if len(leaves) == len(servers):
        _compare_names(found, routes, list(leaves.values()))
    for path, file in servers:
        if path in leaves:
            listener = listeners[int(path[1])].name
            found.expiry[listener, file] = leaves[path].not_valid_after_utc.timestamp()
    return found


def read_certificates(file: str) -> list[x509.Certificate]:
    """All certificates of a PEM file in their order; empty if it cannot be used."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of certificates that break rules, as some old authorities do
        try:
            found = x509.load_pem_x509_certificates(Path(file).read_bytes())
            for certificate in found:
                _names(certificate)  # the fields are parsed when they are read
                certificate.subject.rfc4514_string()
                certificate.issuer.rfc4514_string()
        except (OSError, ValueError):
            return []
    return found


def dns_names(certificate: x509.Certificate) -> list[str]:
    """The DNS names of its subjectAltName, in lower case."""
    return [name.lower() for name in _alternative_names(certificate).get_values_for_type(x509.DNSName)]


# Where the files are.


def _server_places(listeners: Mapping[int, ListenerConfig]) -> Iterator[Place]:
    for index, listener in listeners.items():
        for number, certificate in enumerate(listener.tls.certificates if listener.tls else ()):
            yield ("listeners", index, "tls", "certificates", number, "cert"), certificate.cert


def _client_places(backends: Mapping[str, BackendConfig]) -> Iterator[Place]:
    for name, backend in backends.items():
        if backend.h2 and backend.tls is not None and backend.tls.cert is not None:
            yield ("backends", name, "tls", "cert"), backend.tls.cert


def _authority_places(
    listeners: Mapping[int, ListenerConfig], backends: Mapping[str, BackendConfig]
) -> Iterator[Place]:
    for index, listener in listeners.items():
        client = listener.tls.client_certificates if listener.tls else None
        if client is not None and client.mode != "none" and client.ca is not None:
            yield ("listeners", index, "tls", "clientCertificates", "ca"), client.ca
    for name, backend in backends.items():
        if backend.h2 and backend.tls is not None and backend.tls.ca is not None:
            yield ("backends", name, "tls", "ca"), backend.tls.ca


def _by_file(places: Iterable[Place]) -> Iterator[tuple[list[ConfigPath], str]]:
    """Each file once, with all paths that name it: several listeners may share a certificate."""
    by_file: dict[str, list[ConfigPath]] = {}
    for path, file in places:
        by_file.setdefault(file, []).append(path)
    for file, paths in by_file.items():
        yield paths, file


def _at(paths: Sequence[ConfigPath], message: str) -> tuple[ConfigPath, str]:
    """One finding at the first of the ``paths``; it names the other users of the file."""
    others = list(dict.fromkeys(path_text(path[:2]) for path in paths[1:] if path[:2] != paths[0][:2]))
    return paths[0], f"{message} (also in {', '.join(others)})" if others else message


# What is wrong with them.


def _inspect_chain(
    found: Inspection, paths: Sequence[ConfigPath], file: str, chain: Sequence[x509.Certificate], now: datetime
) -> None:
    for number, certificate in enumerate(chain, 1):
        if text := _invalidity(certificate, now):
            if number == 1:
                found.refused.append(_at(paths, f"the certificate {file} {text}: it is refused"))
            else:
                found.warnings.append(_at(paths, f"{_numbered(number, certificate)} of {file} {text}"))
    if misplaced := _misplaced(chain):
        message = f"{_numbered(misplaced, chain[misplaced - 1])} of {file} has issued none of those before it; "
        message += "the order is: the server's certificate, that of its issuer, that of the issuer's issuer"
        found.warnings.append(_at(paths, message))
    if chain and paths[0][0] == "listeners" and not _names(chain[0]):
        text = "has no host name or address in its subjectAltName, the only names that clients compare"
        found.warnings.append(_at(paths, f"the certificate {file} {text}"))


def _inspect_authorities(found: Inspection, paths: Sequence[ConfigPath], file: str, now: datetime) -> None:
    certificates = read_certificates(file)
    invalid = [(one, text) for one in certificates if (text := _invalidity(one, now))]
    if invalid:
        count = f"{len(invalid)} of {len(certificates)} authorities in {file} cannot be used"
        certificate, text = invalid[0]
        found.warnings.append(_at(paths, f"{count}: {_subject(certificate)} {text}"))


def _compare_names(found: Inspection, routes: Sequence[RouteConfig], leaves: Sequence[x509.Certificate]) -> None:
    """Find the host names of routes that no certificate has. Without a certificate there is nothing to compare."""
    names = {name for leaf in leaves for name in dns_names(leaf)}
    known: set[str] = set()
    for place, route in enumerate(routes if leaves else ()):
        for number, host in enumerate(route.hostnames):
            if host not in known and not _covers(names, host):
                path: ConfigPath = ("routes", place, "hostnames", number)
                found.warnings.append((path, f"no certificate of a listener has the name {host}"))
            known.add(host)


def _covers(names: set[str], host: str) -> bool:
    """Whether one of the ``names`` is ``host``, or the wildcard for its first label (RFC 9525 6.3)."""
    return host in names or f"*.{host.partition('.')[2]}" in names


def _invalidity(certificate: x509.Certificate, now: datetime) -> str:
    """Why it is not valid now, as a predicate; empty if it is."""
    if now > certificate.not_valid_after_utc:
        return f"expired at {_time(certificate.not_valid_after_utc)}"
    if now < certificate.not_valid_before_utc:
        return f"is not valid before {_time(certificate.not_valid_before_utc)}"
    return ""


def _misplaced(chain: Sequence[x509.Certificate]) -> int:
    """The number, from 1, of the first certificate that has issued none of those before it; 0: all have.

    A chain may contain several certificates of one issuer (cross-signed), so they need not follow one another exactly.
    """
    issuers: set[x509.Name] = set()
    for number, certificate in enumerate(chain, 1):
        if number > 1 and certificate.subject not in issuers:
            return number
        issuers.add(certificate.issuer)
    return 0


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _numbered(number: int, certificate: x509.Certificate) -> str:
    return f"certificate {number} ({_subject(certificate)})"


def _subject(certificate: x509.Certificate) -> str:
    """The distinguished name as RFC 4514 writes it; some certificates have an empty one."""
    return certificate.subject.rfc4514_string() or "without a subject"


def _names(certificate: x509.Certificate) -> list[object]:
    """Its host names and addresses."""
    names = _alternative_names(certificate)
    return [*names.get_values_for_type(x509.DNSName), *names.get_values_for_type(x509.IPAddress)]


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])
