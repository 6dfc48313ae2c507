"""The last line of the log: that the service has stopped, and what its clients have lost by that."""

from __future__ import annotations

import logging


def report_stop(logger: logging.Logger, seconds: float, cut: int) -> None:
    """``seconds``: since the signal. ``cut``: number of requests and WebSockets that were aborted."""
    if cut == 0:
        logger.info("stopped after %.1f s: no request was aborted", seconds)
    else:
        logger.warning("stopped after %.1f s: %d request%s aborted", seconds, cut, " was" if cut == 1 else "s were")
