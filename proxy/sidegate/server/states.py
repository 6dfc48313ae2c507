"""The two halves of an exchange and the states of each.

Where it stands: beside the exchange, which alone moves them. The halves are independent: a response may be complete
before its request is, and a client may be gone in any state of the response.
"""

from __future__ import annotations

import enum


class Receiving(enum.IntEnum):
    """The request half."""

    OPEN = 0  # more body may come
    ENDED = 1  # all of it is here, perhaps not yet taken by the application
    TAKEN = 2  # the application has seen `more_body: False`
    GONE = 3  # the client went away, or the proxy gave the request up


class Sending(enum.IntEnum):
    """The response half."""

    WAITING = 0  # for http.response.start
    STARTED = 1  # the head is kept until the first body message, which may settle its length
    STREAMING = 2  # the head is out
    TRAILERS = 3  # the body is out, trailers were promised
    COMPLETE = 4


# Module constants: reading a member of an Enum class costs more than the comparison it is read for (Python 3.11).
OPEN, ENDED, TAKEN, GONE = Receiving
WAITING, STARTED, STREAMING, TRAILERS, COMPLETE = Sending
