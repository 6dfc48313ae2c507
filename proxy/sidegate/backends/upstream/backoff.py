"""Computes the time before the next attempt to connect to an endpoint that failed: pure arithmetic.

The reconnector uses it. Only a connection that is ready gets requests, so an endpoint to which Sidegate does not
connect gets none.

Sidegate soon connects again to its own worker: the socket is local, and the supervisor removes a worker that has ended
from the list of endpoints. A third-party server is *ejected* (Envoy's word) when it fails ``EJECTED_AFTER`` times in a
row: it may accept connections and break each of them, and the requests on a broken connection fail. The last usable
endpoint is never ejected: a failing endpoint is better than none.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST = 0.02
LONGEST = 1.0
"""Seconds from one attempt to the next: the first and the longest, doubled with every failure in a row."""

EJECTED_AFTER = 5
FIRST_EJECTION = 10.0
LONGEST_EJECTION = 300.0
"""Seconds: the first and the longest, doubled with every further failure (Envoy's outlier detection: 30 s, 300 s)."""


@dataclass(frozen=True, slots=True)
class EndpointBackoff:
    """``ejects``: whether ``EJECTED_AFTER`` failures in a row eject the endpoint."""

    ejects: bool

    def after(self, failures: int, alone: bool) -> float:
        """Seconds from the last failure to the next attempt.

        ``failures``: how many in a row. ``alone``: no other endpoint can be used.
        """
        if self.ejects and failures >= EJECTED_AFTER and not alone:
            return min(LONGEST_EJECTION, FIRST_EJECTION * (1 << min(failures - EJECTED_AFTER, 10)))
        return min(LONGEST, FIRST * (1 << min(failures, 10)))
