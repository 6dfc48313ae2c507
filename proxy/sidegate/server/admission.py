"""The decision whether there is room for one more request: not too many in flight, none that has waited too long.

Each process has one; every exchange calls it when it is created. While it is quiet it counts nothing itself.

Theory of operation. ``limits.concurrentRequests`` bounds the requests that wait within applications. Its clients share
it (``shares.py``), but only a front that has most of it in use needs to know who holds how much. So the requests in
flight are counted by client from then on, and until clearly fewer are in flight; it begins with a walk over all of
them. Below that, the bound costs a request one comparison. With a limit for each client they are always counted. An
open WebSocket is no request in flight and has a bound of its own.

``limits.queueDelay`` is about requests that nobody has counted. If an application
computes on the event loop, only one request is in progress; the others wait unread in their sockets. Only time shows
them. All requests that one turn of the loop reads were there when the turn began, so a request
has waited at least since the first request of its turn began. A request that arrived during the turn before has also
waited for an unknown part of that turn; but no turn gets longer than its limit, except by about one request. So each
turn gets half of ``limits.queueDelay``, and two turns together are the whole delay.

One slow request is no queue: the requests read with it are not the cause, and the loop is free after them. So the
longest time from one request of the turn to the next does not count. This also excludes any other single delay of the
loop. Nothing is remembered between turns: whatever happened before, the first request of a turn is served, and then all
that fit into half of the delay.

A callback is needed to notice the end of a turn, and costs a microsecond. So after a short turn the next turns are not
measured for a sixteenth of the limit; the beginning of a long turn may be missed by that time.

Alternatives: controlled delay (CoDel, RFC 8289; for requests: folly's ``Codel``) needs the arrival time of each
request, which a socket does not report; the lag of a periodic timer (Node's under-pressure) is known only after the
turn.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection
from typing import Any

from sidegate.config.schema import Limits
from sidegate.errors import ExchangeError, Fault
from sidegate.observe.record import Record
from sidegate.server.peer import Peer
from sidegate.server.shares import CLIENT_LIMIT, CLIENT_SHARE, OVERLOAD, Shares, client_of, network_of

QUEUE_DELAY = "queue_delay"
REFUSALS = (OVERLOAD, CLIENT_SHARE, CLIENT_LIMIT, QUEUE_DELAY)

_CALM = 0.7
"""The part of ``concurrentRequests`` below which the requests are no longer counted by client."""


def refused(reason: str) -> ExchangeError:
    """The error of a request that was refused for one of ``REFUSALS``."""
    if reason in (CLIENT_SHARE, CLIENT_LIMIT):
        return ExchangeError(Fault.CLIENT, 429, reason)
    return ExchangeError(Fault.PROXY, 503, reason)


class Admission:
    """Decides by ``limits``: ``concurrentRequests``, ``queueDelay``, and the limits of each client.

    ``counting``: whether the requests in flight are counted by client; then ``released`` must be called for each.
    """

    __slots__ = (
        "_began", "_calm", "_count_from", "_in_turn", "_last", "_longest", "_longest_wait", "_loop", "_resume",
        "_skip", "_watched", "counting", "requests", "websockets",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self._loop = loop
        self._longest_wait = limits.queue_delay / 2
        self._skip = self._longest_wait / 8
        self._in_turn = False
        self._began = self._last = self._longest = self._resume = 0.0
        self.requests = Shares(limits.concurrent_requests, limits.requests_per_client, "requests in flight")
        self.websockets = Shares(limits.websockets, limits.websockets_per_client, "WebSockets")
        self._watched: list[Collection[Any]] = []
        self._calm = -1 if self.requests.limit else int(self.requests.bound * _CALM)
        self._stop_counting()
        if self.requests.limit:
            self._start_counting()

    def watch(self, connections: Collection[Any]) -> None:
        """The exchanges of these connections will be counted. ``connections`` may change at any time."""
        self._watched.append(connections)

    def refusal(self, record: Record, peer: Peer, in_flight: int) -> str:
        """The reason to refuse a request (one of ``REFUSALS``), or an empty string.

        ``record``: its ``started`` is the time at which it was read, in seconds of one clock for all. ``peer``: that of
        its connection. ``in_flight``: requests in flight, with this one.
        """
        if self._longest_wait and self._waited(record.started) > self._longest_wait:
            return QUEUE_DELAY
        if in_flight > self._count_from:
            return self._share(record, peer, in_flight)
        return ""

    def released(self, record: Record) -> None:
        """The request has ended, or is no longer one in flight."""
        self.requests.give_back(record)

    def websocket_refusal(self, record: Record, peer: Peer) -> str:
        """The reason to refuse a WebSocket, or an empty string: then it counts until ``websocket_ended``."""
        client = client_of(peer, record.headers)
        reason = self.websockets.refusal(client)
        if not reason:
            self.websockets.take(record, client)
        self._report(self.websockets, client, reason)
        return reason

    def websocket_ended(self, record: Record) -> None:
        """Called at the end of a WebSocket, or of the request that asked for it."""
        self.websockets.give_back(record)

    def _share(self, record: Record, peer: Peer, in_flight: int) -> str:
        if not self.counting:
            self._start_counting()
        elif in_flight <= self._calm:
            self._stop_counting()
            return ""
        client = client_of(peer, record.headers)
        reason = self.requests.refusal(client)
        if not reason:
            self.requests.take(record, client)
        self._report(self.requests, client, reason)
        return reason

    def _start_counting(self) -> None:
        self.counting = True
        self._count_from = 0
        for connections in self._watched:
            for connection in connections:
                for exchange in connection.exchanges.values():
                    record = exchange.record
                    if not getattr(exchange, "accepted", False) and record.reason not in REFUSALS:
                        self.requests.take(record, _client_of_record(connection.peer, record))

    def _stop_counting(self) -> None:
        self.requests.clear()
        self.counting = False
        self._count_from = self.requests.free_use if self.requests.bound else sys.maxsize

    def _report(self, shares: Shares, client: str, reason: str) -> None:
        if reason == CLIENT_SHARE:
            key = "concurrentRequests" if shares is self.requests else "websockets"
            limit = f"limits.{key}: {shares.bound}"
        elif reason == CLIENT_LIMIT:
            key = "requestsPerClient" if shares is self.requests else "websocketsPerClient"
            limit = f"limits.{key}: {shares.limit}"
        else:
            return
        shares.report(client, limit, "further ones get 429", self._loop.time())

    def _waited(self, now: float) -> float:
        """Seconds since the turn's first request, without the longest from one request to the next."""
        if not self._in_turn:
            if now >= self._resume:
                self._in_turn = True
                self._began = self._last = now
                self._longest = 0.0
                self._loop.call_soon(self._end_turn)  # runs before the loop polls its sockets again
            return 0.0
        step = now - self._last
        self._last = now
        self._longest = max(self._longest, step)
        return now - self._began - self._longest

    def _end_turn(self) -> None:
        self._in_turn = False
        if self._last - self._began < self._skip:
            self._resume = self._last + self._skip


def _client_of_record(peer: Peer, record: Record) -> str:
    """As ``client_of`` for a request that has a scope: the address of its client is known."""
    if record.client == "unix" or (peer.trusted is not None and record.client in peer.trusted):
        return ""
    return network_of(record.client)
