"""TCP ports that nobody else takes between choosing and binding them."""

from __future__ import annotations

import socket


def reserve_port(host: str = "127.0.0.1") -> int:
    """A free port that a server with SO_REUSEADDR can bind for the next minute, and nobody by port 0.

    The kernel does not give out a port with a connection in TIME_WAIT, but lets SO_REUSEADDR bind it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, 0))
        listener.listen(1)
        address = listener.getsockname()
        with socket.socket(family) as client:
            client.connect(address)
            # Whoever closes first keeps TIME_WAIT: the accepted side, which has the port in question.
            accepted, _ = listener.accept()
            accepted.close()
            client.recv(1)
    return int(address[1])
