"""The record of one exchange: the data for metrics and the access log.

The exchange makes it when the request's head is known and fills it while it runs. It passes the record to
``Observer.finished`` once, and to ``Observer.count`` before that if the application runs longer than the exchange. A
record contains plain values only; this module does not log and uses no clock.
"""

from __future__ import annotations

import itertools
import os

from sidegate.asgi import Headers
from sidegate.errors import Fault
from sidegate.observe.meter import ListenerMeter
from sidegate.route import NO_ROUTE, Route
from sidegate.wire.events import Rejected, RequestHead

TASK, THREAD, PROCESS = range(3)
"""What runs the application: the task of the exchange, a thread, or another process. With a thread or a process, the
task only relays messages, so it is cancelled when the client disconnects."""

TIMED, OPEN_ENDED, COUNTED = range(3)
"""How the observer counts a record. A WebSocket or an event stream is open-ended: it lasts as long as its client wants,
so its duration is no latency."""

_request_prefix = os.urandom(8).hex()
_request_numbers = itertools.count(1)


class Origin:
    """The values that all requests of one connection share.

    ``client``: the peer's address, or ``unix``. ``tls``: the protocol version (``TLSv1.3``), empty in cleartext.
    """

    __slots__ = ("client", "tls")

    def __init__(self, client: str, tls: str) -> None:
        self.client = client
        self.tls = tls


class Record:
    """One request and its response.

    ``client``, ``tls``: see ``Origin``. ``target``: as sent, path and query. ``path``: what the route map compares,
    empty until the target was checked. ``http_version``: ``1.0``, ``1.1`` or ``2``. ``started``: seconds of
    ``time.perf_counter``. ``route``: the router sets it; ``NO_ROUTE`` if none matched. ``backend``: the name of the
    backend that took the request, which sets it; empty if another App answered. ``status``: 0 until the response
    starts. ``bytes_in``, ``bytes_out``: body bytes. ``has_body``: whether the head announces a body. ``runner``: what
    runs the application (``TASK``, ``THREAD``, ``PROCESS``). ``counting``: ``TIMED``; ``OPEN_ENDED``, not to be
    timed; ``COUNTED``, the observer has counted and logged it.
    ``fault`` and ``reason``: who caused the error that ended the exchange, and the reason for metrics.
    """

    __slots__ = (
        "_request_id", "backend", "bytes_in", "bytes_out", "client", "counting", "fault", "has_body", "headers",
        "http_version", "listener", "method", "path", "reason", "route", "runner", "started", "status",
        "target", "tls",
    )  # fmt: skip

    def __init__(self, listener: ListenerMeter, client: str, head: RequestHead | Rejected, started: float) -> None:
        self.listener = listener
        self.client = client
        self.method = head.method
        self.target = head.target
        self.path = ""
        self.http_version = head.http_version
        self.has_body = isinstance(head, RequestHead) and not head.end_stream
        self.started = started
        self.route: Route = NO_ROUTE
        self.backend = ""
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.headers: Headers = []
        self.tls = ""
        self.fault: Fault | None = None
        self.reason = ""
        self.runner = 0  # TASK; compiled, a literal costs less than a name of the module
        self.counting = 0  # TIMED
        self._request_id = ""

    @property
    def request_id(self) -> str:
        """32 hexadecimal digits, made on first use: 64 random bits of this process, then a counter.

        It is unique and cheap, but not secret: anybody who knows one can guess the next.
        """
        if not self._request_id:
            self._request_id = _numbered(next(_request_numbers))
        return self._request_id

    @request_id.setter
    def request_id(self, value: str) -> None:
        """Take over the id that a front has given to the request."""
        self._request_id = value

    @property
    def relayed(self) -> bool:
        """Whether a front has sent the request to this worker: then the id is not one of this process."""
        return bool(self._request_id) and not self._request_id.startswith(_request_prefix)


def open_record(listener: ListenerMeter, origin: Origin, head: RequestHead | Rejected, started: float) -> Record:
    """The record of a request that came from ``origin``."""
    record = Record(listener, origin.client, head, started)
    record.tls = origin.tls
    return record


def _numbered(number: int) -> str:
    return f"{_request_prefix}{number:016x}"


CLIENT_GONE = 499
"""nginx's status for a client that disconnected before a response began: people and dashboards know it."""


def final_status(record: Record) -> int:
    """The status sent; ``CLIENT_GONE``; or 0 if there was no response for another reason.

    It is 0 and not 500 or 502, because no such status was sent.
    """
    if 100 <= record.status <= 599:
        return record.status
    return CLIENT_GONE if record.fault is Fault.CLIENT else 0
