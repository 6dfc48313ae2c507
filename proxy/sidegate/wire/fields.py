"""The header policy: one table of rules for the fields of HTTP/1.1 and HTTP/2 requests and responses.

Both codecs call it for request fields and the exchange for response fields, so that no two parsers can disagree about
what the application sees. It owns the rules; the codecs own the framing. It raises ``Refused`` for a request and
``ValueError`` for an application's response.

Rules and their sources:

====================================  =========================================================
field name is a token, lower case     RFC 9110 5.1, RFC 9113 8.2.1
value without control bytes but TAB   RFC 9110 5.5; CR, LF, NUL would split a message
``content-length``: one, digits only  RFC 9112 6.3, stricter: a list of equal values is refused too
``host``: at most one, well formed    RFC 9112 3.2
the authority of the request target   RFC 9112 3.2.2: it replaces ``host``; RFC 9113 8.3.1: the two must agree in HTTP/2
scheme: the connection's              RFC 9110 7.4; a trusted proxy may name another one
names with ``_`` are dropped          CGI and WSGI map ``-`` and ``_`` to one name (as nginx does)
forwarding fields are dropped         unless the peer is trusted: a client must not name its own address
hop-by-hop fields                     RFC 9110 7.6.1: they end at this hop; RFC 9113 8.2.2 forbids them in HTTP/2
``cookie`` crumbs are joined          RFC 9113 8.2.3; cookies have a limit of their own
====================================  =========================================================
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from sidegate.asgi import Headers
from sidegate.caches import remember
from sidegate.errors import Refused

TOKEN_BYTES = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
"""RFC 9110 5.6.2 ``tchar``, lower case only: the codecs convert the names of HTTP/1.1 to lower case."""

CONTROL_BYTES = bytes([*range(0x09), *range(0x0A, 0x20), 0x7F])

# This table and one search cost a third of `translate(None, CONTROL_BYTES)`, which builds a table each time.
_CONTROL_TO_NUL = bytes(0 if byte in CONTROL_BYTES else byte for byte in range(256))

# The fields that we set for a third-party server, in place of those of a trusted proxy.
FORWARDING = frozenset(b"x-forwarded-" + part for part in (b"for", b"host", b"port", b"prefix", b"proto"))
FORWARDING |= {b"forwarded", b"x-real-ip"}
OWN_PREFIX = b"x-sidegate-"
"""Prefix of the fields that only Sidegate's own hops may carry."""
CLOSE = OWN_PREFIX + b"close"
"""Field by which a worker tells its front that the application's response said ``Connection: close``."""
OFFER = OWN_PREFIX + b"offer"
"""Field by which a worker tells its front the ``Upgrade`` of the application's 426, which HTTP/2 cannot carry."""

SCHEME = OWN_PREFIX + b"scheme"
"""Field, the last one, by which a codec reports the scheme of a trusted proxy's request if it is not the connection's.

It is no attribute of ``RequestHead``, because that would cost every request.
"""

CONNECTION_SPECIFIC = frozenset(b"connection keep-alive proxy-connection transfer-encoding upgrade".split())

FORBIDDEN_TRAILERS = CONNECTION_SPECIFIC | frozenset(
    b"content-length host te trailer"  # framing and routing
    b" cache-control expect if-match if-modified-since if-none-match if-range if-unmodified-since max-forwards pragma"
    b" range"  # modifiers of requests
    b" authorization cookie proxy-authenticate proxy-authorization set-cookie www-authenticate"
    b" age date expires location retry-after vary"  # control of responses
    b" content-encoding content-range content-type".split()
)
"""Fields whose meaning is needed before the content; a recipient may merge trailers into the head (RFC 9110 6.5.1).

RFC 7230 4.1.2 names these kinds.
"""

HANDSHAKE = frozenset([b"connection", b"upgrade"])
"""Hop-by-hop fields that the application gets of a request for a WebSocket: many check them (RFC 6455 4.2.1)."""

# RFC 3986 3.2.2: registered name or IPv4, or an IP literal in brackets, then an optional port. Never empty: http and
# https URIs have a host (RFC 9110 4.2.1), and so has every route.
_URI_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?")
_LARGEST_PORT = 65535


Pair = tuple[bytes, bytes]


class Kind(enum.IntEnum):
    """What the policy does with a field; the name of the field alone decides it."""

    PLAIN = 0
    DROP = 1
    HOST = 2
    LENGTH = 3
    EXPECT = 4
    COOKIE = 5
    HOP = 6
    TE = 7
    BAD = 8


# Module constants: to read a member of an Enum class costs more than the comparison that uses it.
_PLAIN, _HOST, _COOKIE = Kind.PLAIN, Kind.HOST, Kind.COOKIE


@dataclass(frozen=True, slots=True)
class FieldPolicy:
    """What the peers of one listener may send.

    ``keep_forwarding``: the peer is a trusted proxy. ``proxy_fields``: names, or with ``*`` beginnings of names, that
    only such a peer may send, beside ``forwarded``, ``x-real-ip`` and ``x-forwarded-*``. ``keep_own``: the peer is one
    of our fronts, whose ``x-sidegate-*`` fields are used.
    """

    max_fields: int
    max_block: int
    keep_forwarding: bool = False
    keep_underscores: frozenset[bytes] = frozenset()
    keep_own: bool = False
    proxy_fields: tuple[bytes, ...] = ()
    max_cookies: int = 300
    kinds: dict[bytes, Kind] = field(default_factory=dict, init=False, compare=False, repr=False)
    """Classified names of earlier fields; ``MAX_KINDS`` and ``MAX_NAME`` bound it, so that clients cannot grow it."""
    blocks: dict[bytes, tuple[Pair, ...]] = field(default_factory=dict, init=False, compare=False, repr=False)
    """Checked field blocks of earlier HTTP/1.1 requests; ``wire/http1/head.py`` fills and bounds it."""
    request_lines: dict[bytes, Pair] = field(default_factory=dict, init=False, compare=False, repr=False)
    """Method and target by plain request line of HTTP/1.1; ``wire/http1/head.py`` fills and bounds it."""

    def classify(self, name: bytes) -> Kind:
        """Find the rule for a name that is not in ``kinds`` yet."""
        kind = self._classify(name)
        if len(name) <= MAX_NAME:
            remember(self.kinds, name, kind, MAX_KINDS)
        return kind

    def is_of_proxies(self, name: bytes) -> bool:
        """Whether only a trusted proxy may send the field."""
        if name in FORWARDING or name.startswith(b"x-forwarded-"):
            return True
        return any(name.startswith(one[:-1]) if one.endswith(b"*") else name == one for one in self.proxy_fields)

    def _classify(self, name: bytes) -> Kind:
        if name in _SPECIAL:
            return _SPECIAL[name]
        if not name or name.translate(None, TOKEN_BYTES):
            return Kind.BAD
        if name.startswith(OWN_PREFIX) and not self.keep_own:
            return Kind.DROP
        if not self.keep_forwarding and self.is_of_proxies(name):
            return Kind.DROP
        if b"_" in name and name not in self.keep_underscores:
            return Kind.DROP
        return Kind.PLAIN


MAX_KINDS = 2048
MAX_NAME = 64
MAX_HOST = 255
"""Longer names and hosts are checked anew each time, because caches are bounded in bytes, too."""

_SPECIAL = {
    b"host": Kind.HOST,
    b"content-length": Kind.LENGTH,
    b"expect": Kind.EXPECT,
    b"cookie": Kind.COOKIE,
    b"te": Kind.TE,
    **dict.fromkeys(CONNECTION_SPECIFIC, Kind.HOP),
}


@dataclass(slots=True)
class RequestFields:
    """Request fields that passed. ``headers`` starts with ``host``; ``hop`` holds the fields that end at this hop."""

    headers: Headers
    content_length: int | None
    expect_continue: bool
    hop: Headers


def request_fields(raw: Headers, policy: FieldPolicy, authority: bytes | None = None) -> RequestFields:
    """Check the fields of one request. ``authority``: the authority in the request line or in ``:authority``.

    It replaces a ``host`` field (RFC 9112 3.2.2), so whoever reads the fields later sees only one host. HTTP/2's codec
    compares the two before. Raises ``Refused``.
    """
    if len(raw) > policy.max_fields:
        _check_count(raw, policy)
    if not values_clean(raw):
        raise Refused(400, "bad_field_value", "a field value contains a control character")
    kinds = policy.kinds
    headers: Headers = []
    checked = RequestFields(headers, None, False, [])
    host: bytes | None = None
    cookies: list[bytes] = []
    for pair in raw:
        kind = kinds.get(pair[0])
        if kind is None:
            kind = policy.classify(pair[0])
        if kind is _PLAIN:  # first: this loop runs for every field of every request
            headers.append(pair)
        elif kind is _HOST:
            if host is not None:
                raise Refused(400, "bad_host", "more than one host field")
            host = pair[1]
        elif kind is _COOKIE:
            cookies.append(pair[1])
        elif kind is not Kind.DROP:
            _special(kind, pair, checked)
    if cookies:
        cookie = b"; ".join(cookies)
        if cookie.count(b";") >= policy.max_cookies:
            raise Refused(431, "too_many_cookies", f"more than {policy.max_cookies} cookies")
        headers.append((b"cookie", cookie))
    if authority is not None:
        if host and not valid_host(host):  # RFC 9112 3.2: refused, although it is replaced
            raise Refused(400, "bad_host", "the host is not a name or address with an optional port")
        host = authority
    if host is not None:
        if host not in _hosts_seen and not valid_host(host):
            raise Refused(400, "bad_host", "the host is not a name or address with an optional port")
        headers.insert(0, (b"host", host))
    return checked


def _check_count(raw: Headers, policy: FieldPolicy) -> None:
    crumbs = sum(name == b"cookie" for name, _ in raw)
    if crumbs > policy.max_cookies:
        raise Refused(431, "too_many_cookies", f"more than {policy.max_cookies} cookies")
    if len(raw) - crumbs > policy.max_fields:
        raise Refused(431, "too_many_fields", f"more than {policy.max_fields} header fields")


def _special(kind: Kind, pair: tuple[bytes, bytes], checked: RequestFields) -> None:
    name, value = pair
    if kind is Kind.LENGTH:
        if checked.content_length is not None:
            raise Refused(400, "bad_content_length", "more than one content-length field")
        if not value.isdigit() or len(value) > 18:
            raise Refused(400, "bad_content_length", "content-length is not one decimal number")
        checked.content_length = int(value)
        checked.headers.append(pair)
    elif kind is Kind.EXPECT:
        if value.lower() != b"100-continue":
            raise Refused(417, "bad_expectation", "the only supported expectation is 100-continue")
        checked.expect_continue = True
        checked.headers.append(pair)
    elif kind is Kind.TE:
        # RFC 9110 10.1.4: `trailers` is also valid beyond this hop; any other member ends here.
        if b"trailers" in [member.strip(b" \t") for member in value.lower().split(b",")]:
            checked.headers.append((name, b"trailers"))
    elif kind is Kind.HOP:
        checked.hop.append(pair)
    else:
        raise Refused(400, "bad_field_name", "a field name is not a token")


_hosts_seen: dict[bytes, bytes] = {}


def valid_host(host: bytes) -> bool:
    """Whether ``host`` is ``uri-host [":" port]`` (RFC 3986 3.2.2). Valid hosts are cached within bounds."""
    if host in _hosts_seen:
        return True
    match = _URI_HOST.fullmatch(host)
    if match is None or int(match[1] or 0) > _LARGEST_PORT:
        return False
    if len(host) <= MAX_HOST:
        remember(_hosts_seen, host, host, MAX_KINDS)
    return True


_DEFAULT_PORTS = ({b"", b"80"}, {b"", b"443"})


def is_same_authority(one: bytes, other: bytes) -> bool:
    """Whether two authorities name the same server, as far as that can be told without a scheme (RFC 9110 4.2.3)."""
    if one == other:
        return True
    host, port = _host_and_port(one)
    other_host, other_port = _host_and_port(other)
    return host == other_host and (port == other_port or {port, other_port} in _DEFAULT_PORTS)


def _host_and_port(authority: bytes) -> tuple[bytes, bytes]:
    host, colon, port = authority.lower().rpartition(b":")
    return (host, port) if colon and b"]" not in port else (authority.lower(), b"")


def other_scheme(scheme: bytes, own: bytes, policy: FieldPolicy) -> bytes:
    """The scheme of a request if it is not the connection's ``own`` (empty: unknown), else empty.

    A proxy that ends TLS may send ``https`` in cleartext, but only a trusted one is believed. Raises ``Refused``.
    """
    if not own or scheme == own:
        return b""
    if not policy.keep_forwarding:
        detail = "the request's scheme is not that of this connection, whose peer is no trusted proxy"
        raise Refused(421, "bad_scheme", detail)
    return scheme


def values_clean(fields: Headers) -> bool:
    """Whether no value has a control byte except TAB. One pass in C over all values together."""
    # Search for an int: `b"\0" in` first tries to convert its operand to one, which costs eight times as much.
    return 0 not in b"".join([value for _, value in fields]).translate(_CONTROL_TO_NUL)


def trailer_fields(raw: Headers, policy: FieldPolicy) -> Headers:
    """Check request trailers by the same rules; ``FORBIDDEN_TRAILERS`` are dropped."""
    if len(raw) > policy.max_fields:
        raise Refused(431, "too_many_fields", f"more than {policy.max_fields} trailer fields")
    if not values_clean(raw):
        raise Refused(400, "bad_field_value", "a trailer value contains a control character")
    kept: Headers = []
    for pair in raw:
        kind = policy.kinds.get(pair[0])
        if kind is None:
            kind = policy.classify(pair[0])
        if kind is Kind.BAD:
            raise Refused(400, "bad_field_name", "a trailer name is not a token")
        if kind is Kind.PLAIN and pair[0] not in FORBIDDEN_TRAILERS:
            kept.append(pair)
    return kept


ResponseFields = tuple[Headers, int | None, bool, bool, Headers | None]
"""Response fields that passed, the content-length, whether ``date`` and ``connection: close`` were among them, and
``upgrade`` and ``trailer``, which only some responses carry (``Codec.add_hop_fields``); None if there is neither."""


RESPONSE_FIELDS = 1000
RESPONSE_BLOCK = 256 * 1024
"""Bounds of a response's head without ``date`` and ``content-length``: number of fields, and bytes of their names and
values. They are far beyond what clients accept, and the same for every application and upstream server."""


class ResponseTooLarge(ValueError):
    """A response's head, or its trailers, exceed ``RESPONSE_FIELDS`` or ``RESPONSE_BLOCK``."""


def response_fields(raw: Iterable[tuple[bytes, bytes]]) -> ResponseFields:
    """Check the fields of an application's response. Names become lower case, hop-by-hop fields are dropped.

    So are the fields that ``connection`` names (RFC 9110 7.6.1); its member ``close``, or the field ``CLOSE`` of a
    worker's response, asks to end the connection with this response. ``OFFER`` becomes ``upgrade``.

    Raises ``ValueError`` for what must never be sent (CR, LF, NUL, names that are no tokens), and ``ResponseTooLarge``.
    """
    kept: Headers = []
    length: int | None = None
    dated = close = large = False
    options: Headers | None = None  # most responses have none, and a list costs each of them
    hop: Headers | None = None
    for pair in raw:
        name, value = pair
        checked = None
        if type(name) is bytes and type(value) is bytes and type(pair) is tuple:  # else it may not be hashable
            checked = _checked_pairs.get(pair)
        if checked is None:
            checked = _check_pair(name, value)
            large = large or len(name) + len(value) > MAX_PAIR
        kind, field_ = checked
        if kind is _KEPT:
            kept.append(field_)
        elif kind is _SIZED:
            if length is not None:
                raise ValueError("more than one content-length")
            length = int(field_[1])
            kept.append(field_)
        elif kind is _DATED:
            dated = True
            kept.append(field_)
        elif kind is _OPTIONS:
            options = [field_] if options is None else [*options, field_]
        elif kind is _CLOSE:
            close = True
        elif kind is _HOP:
            hop = [field_] if hop is None else [*hop, field_]
    # So many fields, none of them longer than MAX_PAIR, have fewer bytes than RESPONSE_BLOCK.
    if large or len(kept) > RESPONSE_FIELDS:
        _check_size(kept)
    return (kept, length, dated, close, hop) if options is None else _without_nominated(kept, options, hop)


def allowed_trailers(fields: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Those of the checked ``fields`` of a response that may be trailers."""
    return [pair for pair in fields if pair[0] not in FORBIDDEN_TRAILERS]


def _check_size(kept: Headers) -> None:
    counted = [pair for pair in kept if pair[0] not in (b"date", b"content-length")]
    size = sum(len(name) + len(value) for name, value in counted)
    if len(counted) > RESPONSE_FIELDS:
        raise ResponseTooLarge(f"{len(counted)} fields; at most {RESPONSE_FIELDS} are sent")
    if size > RESPONSE_BLOCK:
        raise ResponseTooLarge(f"{size} bytes of fields; at most {RESPONSE_BLOCK} are sent")


def _without_nominated(fields: Headers, options: Headers, hop: Headers | None) -> ResponseFields:
    """What remains without the fields that ``options``, the fields ``connection``, name."""
    named = members(options, b"connection")
    kept = [pair for pair in fields if pair[0] not in named]
    length = [int(value) for name, value in kept if name == b"content-length"]
    return kept, length[0] if length else None, any(name == b"date" for name, _ in kept), b"close" in named, hop


def members(fields: Headers, wanted: bytes) -> set[bytes]:
    """The members of a list, in lower case; they may be spread over several fields."""
    return {member.strip(b" \t").lower() for name, value in fields if name == wanted for member in value.split(b",")}


def reset_content(headers: Headers) -> Headers:
    """The fields of a 205 response, which has no content (RFC 9110 15.3.6)."""
    return [*[pair for pair in headers if pair[0] != b"content-length"], (b"content-length", b"0")]


def accept_fields(headers: Headers) -> Headers:
    """The fields of a response that may be part of the answer that accepts a WebSocket.

    It drops ``content-length`` (RFC 9110 8.6 and 9.3.6) and ``sec-websocket-accept``, which only the HTTP/1.1 codec
    makes (RFC 8441 5).
    """
    return [pair for pair in headers if pair[0] not in (b"content-length", b"sec-websocket-accept")]


_KEPT, _DROPPED, _DATED, _SIZED, _OPTIONS, _CLOSE, _HOP = range(7)

_RESPONSE_KINDS = {
    **dict.fromkeys(CONNECTION_SPECIFIC, _DROPPED),
    b"connection": _OPTIONS,
    b"upgrade": _HOP,
    OFFER: _HOP,
    b"trailer": _HOP,
    CLOSE: _CLOSE,
    b"date": _DATED,
    b"content-length": _SIZED,
}

MAX_PAIR = 256
"""Largest response field, in bytes, that is cached; the cache holds at most ``MAX_KINDS`` fields."""

_checked_pairs: dict[Pair, tuple[int, Pair]] = {}
"""Response fields that passed before, by what the application sent: most fields repeat in every response."""


def _check_pair(name: bytes, value: bytes) -> tuple[int, Pair]:
    if type(name) is not bytes or type(value) is not bytes:
        name, value = bytes(memoryview(name)), bytes(memoryview(value))  # codecs take bytes only
    lowered = name.lower()
    if not lowered or lowered.translate(None, TOKEN_BYTES):
        raise ValueError(f"response header name {name!r} is not a token")
    if not values_clean([(lowered, value)]):
        raise ValueError(f"the value of response header {lowered!r} contains a control character: {value!r}")
    kind = _RESPONSE_KINDS.get(lowered, _KEPT)
    # RFC 9110 5.5: the whitespace around a value is not part of it; HTTP/2 forbids it (RFC 9113 8.2.1), Django sends
    # it.
    bare = value.strip(b" \t")
    if kind is _SIZED and not bare.isdigit():
        raise ValueError(f"content-length must be one decimal number, not {value!r}")
    checked = (kind, (b"upgrade" if lowered == OFFER else lowered, bare))
    if len(name) + len(value) <= MAX_PAIR:
        remember(_checked_pairs, (name, value), checked, MAX_KINDS)
    return checked
