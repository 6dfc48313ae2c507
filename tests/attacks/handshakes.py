"""TLS: handshakes that do not end, that are all the client wants, and that are begun again and again."""

from __future__ import annotations

import contextlib
import functools
import ssl

from tests.attacks.attack import Attack
from tests.attacks.script import ANSWER, READY, REOPEN, Pause, Script
from tests.bench.tls import client_context

MANY, FEW = 1100, 8
SECONDS = 2.0
COMMAND_SECONDS = 0.002
"""The program reads one command at a time."""


@functools.cache
def client_hello() -> bytes:
    """The first message of a client (RFC 8446 4.1.2)."""
    outgoing = ssl.MemoryBIO()
    session = client_context("http/1.1").wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


def slow(_secure: bool) -> Script:
    """A ClientHello byte by byte."""
    hello = client_hello()
    yield hello[:1]
    yield READY
    for at in range(1, len(hello)):
        yield Pause(SECONDS)
        yield hello[at : at + 1]


def unfinished(_secure: bool) -> Script:
    """The server has computed its part and waits for the client's."""
    yield client_hello()
    yield ANSWER
    yield READY


def abandoned(_secure: bool) -> Script:
    """As often as possible: it costs the client nothing, and the server a signature."""
    yield READY
    yield client_hello()
    yield ANSWER
    yield REOPEN


def commanding(command: bytes) -> functools.partial[Script]:
    """Commands for ``openssl s_client``."""
    return functools.partial(_commanding, command)


def _commanding(command: bytes, _secure: bool) -> Script:
    yield ANSWER
    yield READY
    while True:
        yield command
        yield Pause(COMMAND_SECONDS)


ATTACKS = (
    Attack("tls-slow", f"{MANY} handshakes that arrive byte by byte", "h1", MANY, slow, tls=True, handshake=False),
    Attack("tls-unfinished", f"{MANY} handshakes that the client does not finish", "h1", MANY, unfinished, tls=True,
           handshake=False),
    Attack("tls-abandoned", "handshakes that the client leaves as soon as the server has signed", "h1", FEW, abandoned,
           tls=True, handshake=False),
    Attack("tls-renegotiation", "renegotiations in TLS 1.2", "h1", FEW, commanding(b"R\n"), tls=True,
           program=("openssl", "s_client", "-tls1_2")),
    Attack("tls-key-update", "key updates in TLS 1.3, each to be answered by one", "h1", FEW, commanding(b"K\n"),
           tls=True, program=("openssl", "s_client", "-tls1_3")),
)  # fmt: skip
