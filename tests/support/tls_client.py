"""A TLS client without sockets, and bytes that TLS has on the wire."""

from __future__ import annotations

import ssl

from sidegate.server.tls.engine import Session

HANDSHAKE_RECORD = 22
ALERT_RECORD = 21
DATA_RECORD = 23


class MemoryClient:
    """Python's own client beside a session of an engine. ``heard``: the plaintext that the session has returned."""

    def __init__(self, session: Session, context: ssl.SSLContext, name: str | None = "localhost") -> None:
        self.session = session
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)
        self.heard = b""

    def exchange(self, size: int = 1 << 20) -> bytes:
        """Move what both sides have to say until they say no more, to the session ``size`` bytes at a time.

        Returns what the session has sent.
        """
        sent = b""
        while True:
            to_session, to_client = self.outgoing.read(), self.session.take_output()
            if not (to_session or to_client):
                return sent
            for start in range(0, len(to_session), size):
                self.heard += self.session.receive(to_session[start : start + size])
            sent += to_client
            self.incoming.write(to_client)

    def shake(self, size: int = 1 << 20) -> None:
        """Do the client's side of the handshake; raises ``ssl.SSLError`` as it does."""
        for _ in range(10):
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.exchange(size)
            else:
                self.exchange(size)
                return
        raise AssertionError("the handshake does not end")

    def send(self, data: bytes, size: int = 1 << 20) -> None:
        """Encrypt ``data`` and pass it to the session, ``size`` bytes at a time."""
        self.tls.write(data)
        self.exchange(size)

    def get(self, records: bytes = b"") -> bytes:
        """Decrypt ``records`` and what was passed before; raises ``ssl.SSLError`` for an alert."""
        self.incoming.write(records)
        found = b""
        try:
            while piece := self.tls.read(1 << 20):
                found += piece
        except ssl.SSLWantReadError:
            pass
        return found

    def resumable(self) -> ssl.SSLSession:
        """The session for another handshake; in TLS 1.3 the client gets it while it reads."""
        self.get()
        found = self.tls.session
        assert found is not None
        return found


def records(data: bytes) -> list[tuple[int, int]]:
    """Type and length of each record."""
    found = []
    while data:
        length = int.from_bytes(data[3:5], "big")
        found.append((data[0], length))
        data = data[5 + length :]
    return found
