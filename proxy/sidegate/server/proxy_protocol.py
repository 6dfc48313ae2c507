"""Reads the PROXY header before a connection (``wire/proxy_header.py``), and makes an ASGI extension of its TLS facts.

The listener calls it for peers that it trusts, before the TLS handshake. It looks at bytes in the kernel's buffer
(MSG_PEEK) and takes only those of the header, because the rest belongs to whoever reads the socket next. It raises
``ProxyHeaderError``, and ``OSError`` as the socket does.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import socket
import ssl
from typing import Any

from sidegate.config.schema import ConnectionLimits
from sidegate.wire.proxy_header import ClientTls, ProxyHeader, ProxyHeaderError, ProxyHeaderReader

READ_SIZE = 4096

_VERSION_CODES = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


async def read_header(sock: socket.socket, loop: asyncio.AbstractEventLoop, limits: ConnectionLimits) -> ProxyHeader:
    """Wait for the whole header and take it from the non-blocking socket.

    :raises ProxyHeaderError: there is none, it is malformed, or it did not come within ``timeouts.proxyHeader``.
    :raises EOFError: the peer closed the connection before it, as a health check that only connects does.
    """
    reader = ProxyHeaderReader(limits.proxy_header_size)
    try:
        async with asyncio.timeout(limits.proxy_header):
            while reader.header is None:
                await _take_some(sock, loop, reader)
    except TimeoutError:
        raise ProxyHeaderError("proxy_header_timeout", "the PROXY header did not come in time") from None
    return reader.header


async def _take_some(sock: socket.socket, loop: asyncio.AbstractEventLoop, reader: ProxyHeaderReader) -> None:
    try:
        data = sock.recv(READ_SIZE, socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        await _readable(sock, loop)
        return
    if not data:
        raise EOFError
    sock.recv(reader.take(data))


async def _readable(sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
    ready = asyncio.Event()
    loop.add_reader(sock.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock.fileno())


def tls_extension(tls: ClientTls) -> dict[str, Any]:
    """The ASGI ``tls`` extension of a connection whose TLS ended at a proxy.

    A certificate that the proxy has not verified is reported as an error only: an application that does not look at the
    error must not take the name for granted.
    """
    error = None if tls.verified or not tls.sent_certificate else "the proxy has not verified the client's certificate"
    chain, name = _certificate(tls) if tls.verified else ([], None)
    return {
        "server_cert": None,
        "client_cert_chain": chain,
        "client_cert_name": name,
        "client_cert_error": error,
        "tls_version": _VERSION_CODES.get(tls.version),
        "cipher_suite": _suites().get(tls.cipher),
    }


def _certificate(tls: ClientTls) -> tuple[list[str], str | None]:
    """The certificate in PEM and its subject; without a certificate the subject has only the CN."""
    if not tls.certificate:
        return [], f"CN={_escaped(tls.common_name)}" if tls.common_name else None
    subject = importlib.import_module("sidegate.server.tls.x509").subject(tls.certificate)
    return [ssl.DER_cert_to_PEM_cert(tls.certificate)], subject


def _escaped(value: str) -> str:
    """RFC 4514 2.4: the value of an attribute in the text of a distinguished name."""
    text = "".join(f"\\{letter}" if letter in '"+,;<>\\' else letter for letter in value).replace("\0", "\\00")
    if text.startswith(("#", " ")):
        text = "\\" + text
    return text[:-1] + "\\ " if text.endswith(" ") and len(value) > 1 else text


@functools.cache
def _suites() -> dict[str, int]:
    """The numbers of cipher suites by OpenSSL's names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL")
    return {cipher["name"]: cipher["id"] & 0xFFFF for cipher in context.get_ciphers()}
