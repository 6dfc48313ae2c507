"""Errors that cross module borders. Each says whose fault it is.

Where it stands: the lowest row of the layout; every other module may raise these.
"""

from __future__ import annotations

import enum

ConfigPath = tuple[str | int, ...]
Problems = list[tuple[ConfigPath, str]]
"""Problems by their path in the configuration, for example ``("listeners", 0, "tls", "certificates", 0, "cert")``."""


class Fault(enum.StrEnum):
    """Who has to change something for the error to go away."""

    CLIENT = "client"
    APPLICATION = "application"
    UPSTREAM = "upstream"
    PROXY = "proxy"


class SidegateError(Exception):
    """Base of every error that Sidegate raises on purpose."""


class ExchangeError(SidegateError):
    """One exchange failed: whose fault, which status the client gets, and one word for the metric."""

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


class Unprocessed(ExchangeError):
    """Nothing was done for a request, and somebody else may do it; over HTTP/2 its client is told so (RFC 9113 8.7)."""

    def __init__(self, reason: str) -> None:
        super().__init__(Fault.PROXY, 503, reason)


class StartError(SidegateError):
    """A process cannot start; the message tells the operator what, where and what to do."""


class AccessLogError(StartError):
    """The file of ``logging.accessLogFile`` cannot be opened."""


class ClientDisconnected(OSError):
    """``send`` after the client went away (ASGI HTTP spec 2.4: "raise a subclass of OSError")."""


def stems_from_disconnect(error: BaseException | None) -> bool:
    """Is it our own ``ClientDisconnected``, as it is or behind what a framework made of it?"""
    seen: set[int] = set()  # `raise a from b` may close a circle of causes
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ClientDisconnected):
            return True
        error = error.__cause__ or error.__context__
    return False
