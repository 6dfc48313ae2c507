"""Which TLS engine serves, and the keys of session tickets."""

from __future__ import annotations

import sys

import pytest

from sidegate.errors import StartError
from sidegate.ipc.control import decode_keys, encode_keys
from sidegate.server import tls
from sidegate.server.tls.engine import TICKET_KEY, TICKET_LIFETIME, TICKET_NAME
from sidegate.server.tls.engines import load_tls_engine
from sidegate.supervisor import ticket_rotation
from sidegate.supervisor.ticket_rotation import TicketRotation


def test_auto_is_openssl_where_it_was_built() -> None:
    pytest.importorskip("sidegate.server.tls.openssl", reason="the OpenSSL binding was not built")
    assert load_tls_engine("auto") == load_tls_engine("openssl")
    assert load_tls_engine("auto").name == "openssl"


def test_auto_is_ssl_where_openssl_was_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sidegate.server.tls.openssl_engine", raising=False)
    monkeypatch.delattr(tls, "openssl", raising=False)
    monkeypatch.setitem(sys.modules, "sidegate.server.tls.openssl", None)
    assert load_tls_engine("auto").name == "ssl"
    with pytest.raises(StartError, match="libssl-dev"):
        load_tls_engine("openssl")


def test_both_say_the_version_of_their_library() -> None:
    for name in ("auto", "ssl"):
        assert load_tls_engine(name).version.startswith(("1.1.1", "3.", "4."))


def test_a_new_key_replaces_the_oldest() -> None:
    rotation = TicketRotation(list)
    (first,) = rotation.keys
    rotation.rotate()
    second, *rest = rotation.keys
    assert rest == [first]
    rotation.rotate()
    third, *rest = rotation.keys
    assert rest == [second]
    assert len({first, second, third}) == 3
    assert {len(key) for key in (first, second, third)} == {TICKET_NAME + 2 * TICKET_KEY}


def test_a_ticket_does_not_outlive_its_key() -> None:
    assert TICKET_LIFETIME <= ticket_rotation.PERIOD


def test_keys_travel_as_text() -> None:
    keys = TicketRotation(list).keys
    assert decode_keys(encode_keys(keys)) == list(keys)
