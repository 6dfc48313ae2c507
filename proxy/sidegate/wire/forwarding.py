"""The fields in which a proxy says from whom a request came: ``X-Forwarded-For`` and ``Forwarded`` (RFC 7239).

Every proxy appends what it knows of its own client, so members are read from the right, and only as many as the caller
trusts. Text that is malformed ends the reading there: the members to its right are those of nearer proxies. This module
knows the grammar, not whom to trust. It raises no error.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

Address = tuple[str, int]
"""Host and port; the port is 0 if it is unknown."""

Hop = tuple[Address | None, str]
"""The client of one proxy, None if it is unknown or malformed; and the ``proto`` that it names, in lower case."""

HTTP_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
"""The scheme of HTTP by what proxies write: some name that of the WebSocket."""

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# RFC 7239 4 wants quotes around a value with ":" or brackets; some proxies leave them out.
_VALUE = r'(?:"((?:[^"\\]|\\.)*+)"|([^\s",;=\\]*+))'
_PAIR = re.compile(rf"[ \t]*+(?:({_NAME})={_VALUE})?+[ \t]*+(?:;|\Z)")
_QUOTED_PAIR = re.compile(r"\\(.)")

_MOST_PIECES = 8
"""Commas within one element, in quotes; bounds the search for its beginning."""


def hops_of_list(members: str) -> Iterator[Hop]:
    """The members of ``X-Forwarded-For``, the nearest proxy's first."""
    for member in reversed(members.split(",")):
        text = member.strip(" \t")
        if text:
            yield node_address(text), ""


def hops_of_forwarded(elements: str) -> Iterator[Hop]:
    """The elements of ``Forwarded``, the nearest proxy's first. It ends before an element that is malformed."""
    end = len(elements)
    while end >= 0:
        start, pairs = _last_element(elements, end)
        if pairs is None:
            return
        if pairs:
            yield node_address(pairs.get("for", "")), pairs.get("proto", "").lower()
        end = start


def node_address(node: str) -> Address | None:
    """An address with or without a port, such as ``192.0.2.1:80`` or ``[2001:db8::1]``; None for anything else.

    The port may be obfuscated (RFC 7239 6.2), which counts as unknown.
    """
    host, port = node, ""
    if node.startswith("["):
        host, bracket, port = node[1:].partition("]")
        if not bracket or not (port == "" or port.startswith(":")):
            return None
    elif node.count(":") == 1:
        host = node.partition(":")[0]
        port = node[len(host) :]
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    if not port or port.startswith(":_"):
        return host, 0
    if not re.fullmatch(":[0-9]{1,5}", port) or int(port[1:]) > 65535:
        return None
    return host, int(port[1:])


def _last_element(elements: str, end: int) -> tuple[int, dict[str, str] | None]:
    """The element that ends at ``end``, and the place of the comma before it (-1: there is none)."""
    start = end
    for _ in range(_MOST_PIECES):
        start = elements.rfind(",", 0, start)
        pairs = _pairs(elements[start + 1 : end])
        if pairs is not None or start < 0:
            return start, pairs
    return -1, None


def _pairs(element: str) -> dict[str, str] | None:
    """The parameters of one element by name in lower case; None if it is malformed."""
    pairs: dict[str, str] = {}
    place = 0
    while place < len(element):
        match = _PAIR.match(element, place)
        if match is None:
            return None
        name, quoted, plain = match.groups()
        if name is not None:
            if name.lower() in pairs:
                return None
            pairs[name.lower()] = plain if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted)
        place = match.end()
    return pairs
