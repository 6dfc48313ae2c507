"""Listening addresses: every form, normalised."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidegate.config.address import UNIX_PATH_BYTES, Address, parse_address, parse_upstream


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:8443", Address("tcp", host="0.0.0.0", port=8443)),
        ("[::]:0", Address("tcp", host="::", port=0)),
        ("[0:0::1]:80", Address("tcp", host="::1", port=80)),
        ("[FE80::1%eth0]:80", Address("tcp", host="fe80::1%eth0", port=80)),
        (f"{'a' * 63}.test:1", Address("tcp", host=f"{'a' * 63}.test", port=1)),
        (f"{'a.' * 126}a.:1", Address("tcp", host=f"{'a.' * 126}a.", port=1)),
        (":8080", Address("tcp", port=8080)),
        ("LocalHost:1", Address("tcp", host="localhost", port=1)),
        ("my_host.example.:65535", Address("tcp", host="my_host.example.", port=65535)),
        ("unix:/run/a.sock", Address("unix", path="/run/a.sock")),
        ("unix:a:8", Address("unix", path="a:8")),
        ("unix:8080", Address("tcp", host="unix", port=8080)),
        ("fd:3", Address("fd", fd=3)),
        ("systemd:", Address("systemd")),
        ("systemd:web", Address("systemd", name="web")),
    ],
)
def test_forms(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be an address such as"),
        ("8080", "must be an address such as"),
        ("localhost", "must be an address such as"),
        ("http://localhost:80", "must be an address such as"),
        ("a..b:80", "must be an address such as"),
        (f"{'a.' * 126}aa:80", "a host name may have 253 characters, .* has 254"),
        (f"www.{'a' * 64}.test:80", "a label of a host name may have 63 characters, .* has 64"),
        ("bücher.example:80", "must be in ASCII: write 'bücher.example' in its xn-- form"),
        (".a:80", "must be an address such as"),
        ("[fe80::1%é]:80", "is not an IPv6 address"),
        ("[fe80::1%a b]:80", "is not an IPv6 address"),
        (f"[fe80::1%{'a' * 16}]:80", "is not an IPv6 address"),
        ("localhost:", "the port must be a number from 0 to 65535"),
        ("localhost:65536", "the port must be a number from 0 to 65535"),
        ("localhost:٣", "the port must be a number from 0 to 65535"),
        ("::1:80", "write an IPv6 address in brackets"),
        ("[]:80", "is not an IPv6 address"),
        ("[1.2.3.4]:80", "is not an IPv6 address"),
        ("1.2.3:80", "is not an IPv4 address"),
        ("fd:", "must be fd: and the number"),
        ("fd:-1", "must be fd: and the number"),
        ("unix:", "must name a path after unix:"),
        ("unix:a\0b", "must name a path after unix:"),
        ("unix:/" + "a" * UNIX_PATH_BYTES, "may have 107 bytes"),
        ("unix:/" + "é" * 60, "has 121"),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_address(text)


@given(st.text(alphabet="a.-_é%x", max_size=20), st.integers(0, 260), st.sampled_from(["{}:1", "[fe80::1%{}]:1"]))
def test_what_is_accepted_can_be_looked_up(text: str, more: int, form: str) -> None:
    """``getaddrinfo`` encodes a host by Python's IDNA codec, which raises UnicodeError."""
    for host in (text, text + "a" * more, text + ".a" * (more // 2)):
        for parse, address in ((parse_address, form.format(host)), (parse_upstream, f"tcp://{form.format(host)}")):
            try:
                accepted = parse(address).host
            except ValueError:
                continue
            accepted.encode("idna")


@given(st.text(alphabet="[]:.0123456789abunixfdsystem/- ") | st.text())
def test_what_is_read_is_read_back(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(address)) == address
