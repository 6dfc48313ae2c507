"""Every server of the comparison, in the order of the table."""

from __future__ import annotations

from tests.bench.servers import fronts, python, sidegate

KINDS = (*sidegate.KINDS, *python.KINDS, *fronts.KINDS)
