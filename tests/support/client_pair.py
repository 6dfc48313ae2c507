"""A client codec and a server codec of the same version of HTTP, without a socket between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sidegate.config.schema import ConnectionLimits
from sidegate.wire import events as e
from sidegate.wire.client_codec import CONNECTION_LOST, ClientCodec
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.http1.client import Http1ClientCodec
from sidegate.wire.http1.server import Http1Codec
from tests.support import http2 as c

WINDOW = 65_535
"""Bytes of body that a client of either version lets be unread."""


@dataclass
class Pair:
    """A client and a server, both ours. Events pile up until they are taken."""

    client: ClientCodec
    server: e.Codec
    answers: list[e.Event] = field(default_factory=list)
    requests: list[e.Event] = field(default_factory=list)

    @property
    def multiplexed(self) -> bool:
        """Whether streams are reset without the connection (HTTP/2)."""
        return self.client.max_streams > 1

    def exchange(self) -> None:
        """Carry bytes, and the end of the connection, to and fro until both are silent."""
        silent = False
        while not silent:
            up = self.client.take_output()
            down = b"" if self.client.read_paused() else self.server.take_output()
            silent = not (up or down or self.server.more or self.client.more)
            if up or self.server.held or self.server.more:
                self.requests += self.server.receive(up, 1.0)
            if down or self.client.more:
                self.answers += self.client.receive(down)
        if self.multiplexed:
            return
        if self.server.closed and not self.client.closed:
            self.answers += self.client.receive_eof()
        elif self.client.closed and not self.server.closed:
            self.requests += self.server.receive_eof()

    def heard(self) -> list[e.Event]:
        """What the client was told since the last call."""
        self.exchange()
        answers, self.answers = self.answers, []
        return c.merged(answers)

    def asked(self) -> list[e.Event]:
        """What the server was told since the last call."""
        self.exchange()
        requests, self.requests = self.requests, []
        return c.merged(requests)

    def open(self, pairs: c.Pairs = c.GET, end: bool = True) -> int:
        """Send a request; the server must be told of it, and of nothing else."""
        stream_id = self.client.request(list(pairs), end)
        (head,) = self.asked()
        assert isinstance(head, e.RequestHead)
        assert head.stream_id == stream_id
        return stream_id

    def aborted(self, stream_id: int, code: int) -> e.Reset:
        """What one side is told when the other one resets a stream: HTTP/1.1 knows no codes."""
        return e.Reset(stream_id, code if self.multiplexed else CONNECTION_LOST)


MakePair = Callable[..., Pair]


def http1_pair(**limits: Any) -> Pair:
    """Both ends of an HTTP/1.1 connection. ``limits``: the server's."""
    chosen = ConnectionLimits(**limits)
    policy = FieldPolicy(chosen.header_fields, chosen.header_block)
    return Pair(Http1ClientCodec(FieldPolicy(8, 4_096), WINDOW), Http1Codec(policy, chosen, 0.0))
