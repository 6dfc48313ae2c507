"""Decides whether a request may be sent again whose stream ended before any of the response was passed on.

The relay calls it; it is a pure function.

====================================================  =================================================
the peer did not process it: REFUSED_STREAM, also      sent again to any peer, if its whole body is
for a GOAWAY below its stream number                   still kept (RFC 9113 8.7)
the connection was lost before any of it was written   the same
the connection was lost afterwards                     sent once more, if the method is idempotent
                                                       (RFC 9110 9.2.2) and no body was sent
the peer reset it in any other way                     never sent again: it was processed
====================================================  =================================================
"""

from __future__ import annotations

from sidegate.errors import ExchangeError, Fault, SlowClient
from sidegate.wire.client_codec import CONNECTION_LOST, RESPONSE_TOO_LARGE
from sidegate.wire.codes import ENHANCE_YOUR_CALM, REFUSED_STREAM

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})

REFUSED = "refused"
UNSENT = "unsent"
LOST = "lost"


def reason_to_retry(code: int, method: str, sent: bool, lost_before: bool) -> str:
    """``REFUSED``, ``UNSENT`` or ``LOST``.

    ``code``: the code of the ``Reset``. ``sent``: whether any byte of the request may have reached the peer.
    ``lost_before``: whether a lost connection was already the reason to send it again.

    :raises ExchangeError: 502; the request must not be sent again.
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


def broken_off(code: int, begun: bool = False) -> ExchangeError:
    """Make the error for a response that will not arrive, or not completely. ``begun``: the client has its head."""
    if begun and code == ENHANCE_YOUR_CALM:
        return SlowClient()
    if code == CONNECTION_LOST:
        return ExchangeError(Fault.UPSTREAM, 502, "upstream_lost")
    if code == RESPONSE_TOO_LARGE:
        return ExchangeError(Fault.UPSTREAM, 502, "upstream_head_too_large")
    return ExchangeError(Fault.UPSTREAM, 502, "upstream_reset")
