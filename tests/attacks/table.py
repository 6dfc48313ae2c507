"""Every attack, in the order of the table."""

from __future__ import annotations

from tests.attacks import connections, h1, h2_floods, h2_heads, h2_streams, handshakes, slow, websockets

ATTACKS = (
    *h2_streams.ATTACKS,
    *h2_heads.ATTACKS,
    *h2_floods.ATTACKS,
    *h1.ATTACKS,
    *slow.ATTACKS,
    *connections.ATTACKS,
    *handshakes.ATTACKS,
    *websockets.ATTACKS,
)
BY_NAME = {attack.name: attack for attack in ATTACKS}
