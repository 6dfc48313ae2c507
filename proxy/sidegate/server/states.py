"""The two halves of an exchange and the states of each.

Only the exchange changes the states. The halves are independent: a response may be complete before its request is, and
a client may disconnect in any state of the response.
"""

from __future__ import annotations

import enum


class Receiving(enum.IntEnum):
    """The request half."""

    OPEN = 0  # more body may come
    ENDED = 1  # all of it has arrived, but the application may not have taken it
    TAKEN = 2  # the application has seen `more_body: False`
    GONE = 3  # the client disconnected, or the proxy aborted the request


class Sending(enum.IntEnum):
    """The response half."""

    WAITING = 0  # for http.response.start
    STARTED = 1  # the head is kept until the first body message, which may determine its length
    STREAMING = 2  # the head is sent
    TRAILERS = 3  # the body is sent, trailers were promised
    COMPLETE = 4


# Module constants: to read a member of an Enum class costs more than the comparison that uses it (Python 3.11).
OPEN, ENDED, TAKEN, GONE = Receiving
WAITING, STARTED, STREAMING, TRAILERS, COMPLETE = Sending
