"""Errors that one module raises and another one handles. Every module may raise these."""

from __future__ import annotations

import enum
from typing import Any, Protocol

ConfigPath = tuple[str | int, ...]
Problems = list[tuple[ConfigPath, str]]
"""Problems by their path in the configuration, for example ``("listeners", 0, "tls", "certificates", 0, "cert")``."""


class Fault(enum.StrEnum):
    """The party that has to change something so that the error does not happen again."""

    CLIENT = "client"
    APPLICATION = "application"
    UPSTREAM = "upstream"
    PROXY = "proxy"


class SidegateError(Exception):
    """Base of every error that Sidegate raises on purpose."""


class ExchangeError(SidegateError):
    """One exchange failed: who caused it, the status that the client gets, and the reason for the metric.

    ``hint``: a sentence for the client; it must tell nothing that a stranger should not know. ``reset_code``: with
    which a response is reset that has begun (RFC 9113 7: INTERNAL_ERROR).
    """

    hint = ""
    reset_code = 0x2

    def __init__(self, fault: Fault, status: int, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.fault = fault
        self.status = status
        self.reason = reason
        self.detail = detail


class Refused(ExchangeError):
    """A request that the header policy or a limit refuses before any application sees it."""

    def __init__(self, status: int, reason: str, detail: str = "") -> None:
        super().__init__(Fault.CLIENT, status, reason, detail)
        self.hint = detail


class SlowClient(ExchangeError):
    """The client takes nothing of its responses, of which too much waits (RFC 9113 7: ENHANCE_YOUR_CALM)."""

    REASON = "slow_client"
    reset_code = 0xB

    def __init__(self) -> None:
        super().__init__(Fault.CLIENT, 408, self.REASON)


class Unprocessed(ExchangeError):
    """A request was not processed, so it may be sent again; over HTTP/2 the client is told so (RFC 9113 8.7)."""

    def __init__(self, reason: str) -> None:
        super().__init__(Fault.PROXY, 503, reason)


class UnusableUpstream(ExchangeError):
    """No server of a backend can be used, and to wait would not help."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(Fault.UPSTREAM, status, reason)
        self.hint = "No server of this application can be used. The log shows the reason."


class StartError(SidegateError):
    """A process cannot start; the message tells the operator what, where and what to do."""


class AccessLogError(StartError):
    """The file of ``logging.accessLogFile`` cannot be opened."""


class ClientDisconnected(OSError):
    """``send`` was called after the client had disconnected (ASGI HTTP spec 2.4: "raise a subclass of OSError").

    ``record``: the record of the exchange whose client it is.
    """

    def __init__(self, record: object, text: str = "the client disconnected") -> None:
        super().__init__(text)
        self.record = record


class ErrorHolder(Protocol):
    """An object that keeps an error which another coroutine is to raise."""

    error: Any


def raise_kept(holder: ErrorHolder) -> None:
    """Raise ``holder.error``, if there is one; the holder loses it.

    An error refers to all frames that it passes, and these usually refer to the holder. If the holder kept the error,
    only the collector could free them: request, body and all.
    """
    error, holder.error = holder.error, None
    if error is None:
        return
    try:
        raise error
    finally:
        del error


def stems_from_disconnect(error: BaseException | None, record: object) -> bool:
    """Whether ``error`` is a ``ClientDisconnected`` of this exchange, or was raised because of one.

    That another exchange's client disconnected excuses nothing: an application that sends to it has to handle that.
    """
    seen: set[int] = set()  # `raise a from b` may make the chain of causes circular
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ClientDisconnected) and error.record is record:
            return True
        error = error.__cause__ or error.__context__
    return False
