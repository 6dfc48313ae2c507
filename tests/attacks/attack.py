"""The noun of the table: an attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.attacks.script import MakeScript


@dataclass(frozen=True)
class Attack:
    """``connections`` follow ``script`` at once; one that the server ends is opened again after a moment.

    ``protocol``: of the attacker and of the honest client beside it.
    """

    name: str
    title: str
    protocol: Literal["h1", "h2"]
    connections: int
    script: MakeScript

    tls: bool = False
    """The server has TLS, also where it could do without."""

    handshake: bool = True
    """The attacker completes the TLS handshake, where there is TLS; else it sends what the script says."""

    reads: bool = True
    """The attacker reads what arrives. Else it reads only where the script says so, into a small buffer."""

    websocket: bool = False
    """The server has to support WebSockets, and what it sends are frames of them."""

    rounds: int = 1
    """How often it comes and leaves; memory may not grow from round to round."""

    files: int | None = None
    """The server's limit of open files, where it is not the system's."""

    none_refused: bool = False
    """The honest client may not lose a single request."""

    program: tuple[str, ...] = ()
    """It speaks for the attacker: the script writes to its input and reads its output. It is told where to connect."""
