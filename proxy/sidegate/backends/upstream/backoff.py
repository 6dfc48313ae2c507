"""How long an endpoint that fails is left alone: pure arithmetic.

Where it stands: asked by the keeper. Only a link that is ready gets requests, so to connect less often is all that it
takes to leave an endpoint out.

A worker of our own is asked again soon: the socket is local, and the supervisor takes it off the list when it is gone.
Somebody else's server is *ejected* (Envoy's word) when it fails ``EJECTED_AFTER`` times in a row: it may accept
connections and break each of them, at the cost of the requests on it. But never the last one: then its failures are
better than none.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST = 0.02
LONGEST = 1.0
"""Seconds from one attempt to the next, doubled with every failure in a row."""

EJECTED_AFTER = 5
FIRST_EJECTION = 10.0
LONGEST_EJECTION = 300.0
"""Seconds, doubled with every further failure (Envoy's outlier detection: 30 s and 300 s)."""


@dataclass(frozen=True, slots=True)
class EndpointBackoff:
    """``ejects``: whether failures in a row put the endpoint out."""

    ejects: bool

    def after(self, failures: int, alone: bool) -> float:
        """Seconds from the last of so many failures to the next attempt. ``alone``: no other endpoint can be used."""
        if self.ejects and failures >= EJECTED_AFTER and not alone:
            return min(LONGEST_EJECTION, FIRST_EJECTION * (1 << min(failures - EJECTED_AFTER, 10)))
        return min(LONGEST, FIRST * (1 << min(failures, 10)))
