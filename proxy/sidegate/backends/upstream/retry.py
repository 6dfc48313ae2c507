"""Whether a request that broke off before any of its response was passed on may be sent again.

Where it stands: asked by the relay; a pure function. Errors: ``ExchangeError`` (502) if it may not.

====================================================  =================================================
the peer did not process it: REFUSED_STREAM, which     again elsewhere, as long as its body is here
also stands for GOAWAY below its number                (RFC 9113 8.7)
the connection broke before any of it was written      the same
the connection broke afterwards                        once more if the method is idempotent (RFC 9110
                                                       9.2.2) and no body was sent
the peer reset it in any other way                     never: it was processed
====================================================  =================================================
"""

from __future__ import annotations

from sidegate.errors import ExchangeError, Fault
from sidegate.wire.http2.client import CONNECTION_LOST
from sidegate.wire.http2.engine import REFUSED_STREAM

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})

REFUSED = "refused"
UNSENT = "unsent"
LOST = "lost"


def reason_to_retry(code: int, method: str, sent: bool, lost_before: bool) -> str:
    """``REFUSED``, ``UNSENT`` or ``LOST``.

    ``code``: of the ``Reset``. ``sent``: something of the request may have reached the peer. ``lost_before``: it was
    sent once more already. Raises ``ExchangeError`` for a request that must not be sent again.
    """
    if code == REFUSED_STREAM:
        return REFUSED
    if code != CONNECTION_LOST:
        raise broken_off(code)
    if not sent:
        return UNSENT
    if lost_before or method not in IDEMPOTENT:
        raise broken_off(code)
    return LOST


def broken_off(code: int) -> ExchangeError:
    """What the client is told of a response that will not come, or not come to its end."""
    if code == CONNECTION_LOST:
        return ExchangeError(Fault.UPSTREAM, 502, "upstream_lost")
    return ExchangeError(Fault.UPSTREAM, 502, "upstream_reset")
