"""The port in the location of a redirect to https. The redirect itself is in tests/contract."""

from __future__ import annotations

from typing import Any

import pytest

from sidegate.config.schema import Config
from sidegate.config.validation import validate
from sidegate.server.https_redirect import HttpsPort, https_location

TLS = {"selfSigned": True}


def port(own: list[str], *tls: str) -> HttpsPort:
    """The rule of a listener with its ``own`` addresses, beside TLS listeners with one address each."""
    listeners: list[dict[str, Any]] = [{"name": "http", "addresses": own, "httpsRedirect": True}]
    listeners += [{"name": f"tls-{number}", "address": address, "tls": TLS} for number, address in enumerate(tls)]
    document = {"listeners": listeners, "backends": {"b": {"respond": {}}}, "routes": [{"backend": "b"}]}
    config = validate(Config, document)
    return HttpsPort(config, config.listeners[0])


@pytest.mark.parametrize(
    ("own", "tls", "host", "expected"),
    [
        ([":80"], [":443"], b"a.test", b"a.test"),
        ([":80"], [":443"], b"a.test:80", b"a.test"),
        ([":80"], [":8443"], b"a.test", b"a.test:8443"),
        ([":80"], [":8443"], b"a.test:", b"a.test:8443"),
        ([":80"], [":8443"], b"[::1]", b"[::1]:8443"),
        ([":8080"], [":8443"], b"a.test:8080", b"a.test:8443"),
        ([":8080"], [":8443"], b"[::1]:8080", b"[::1]:8443"),
        ([":8080"], [":443"], b"a.test:8080", b"a.test"),
        ([":1", "[::]:8080"], ["127.0.0.1:9443", ":8443"], b"a.test:8080", b"a.test:9443"),
        # The ports are mapped: 80 to 8080 and 443 to 8443, or 30080 to 8080 and nobody knows.
        ([":8080"], [":8443"], b"a.test", b"a.test"),
        ([":8080"], [":8443"], b"[::1]", b"[::1]"),
        ([":8080"], [":8443"], b"a.test:30080", b"a.test"),
        # A port that the configuration does not name.
        (["systemd:http"], [":8443"], b"a.test", b"a.test"),
        ([":0"], [":8443"], b"a.test:40000", b"a.test"),
        ([":8080"], ["systemd:https"], b"a.test:8080", b"a.test"),
        ([":8080"], ["unix:/a.sock", ":8443"], b"a.test:8080", b"a.test:8443"),
        ([":8080"], [], b"a.test:8080", b"a.test"),
    ],
)
def test_the_port_in_the_location(own: list[str], tls: list[str], host: bytes, expected: bytes) -> None:
    assert port(own, *tls).authority(host) == expected


def test_a_location_has_path_and_query_as_they_came() -> None:
    assert https_location(b"a.test:1", b"/b?c=/d&e") == b"https://a.test:1/b?c=/d&e"
    assert https_location(b"a.test", b"*") == b"https://a.test"
