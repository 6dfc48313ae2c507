"""Which link takes the next request, and who waits when none has room: decided here without I/O.

Where it stands: below the balancer, which carries out what is decided here: it sends on the links and wakes those who
wait. Times are arguments. No error leaves it.

Theory of operation. A link has as many places as its peer takes streams at once. A request takes a place of the link
with the fewest requests under way; among equals chance decides, because fronts that do not know of each other would
otherwise all begin with the same worker. When no link has a free place, requests wait in one queue, first come, first
served, and nobody who comes later overtakes them. The queue is bounded in number and in time. A request that a peer
did not take waits again at the head of the queue, with what is left of its time.
"""

from __future__ import annotations

import random
from collections import deque

_random = random.random  # a name that has a type when it is compiled


class Target:
    """A link, as the choice sees it. ``in_use`` of its ``capacity`` are taken; one that rests is offered to nobody."""

    __slots__ = ("capacity", "cooling_down", "in_use")

    def __init__(self) -> None:
        self.in_use = 0
        self.capacity = 0
        self.cooling_down = False


class Ticket:
    """One request in the queue. ``target`` is set when it has one; then ``in_use`` counts it already."""

    __slots__ = ("deadline", "since", "target")

    def __init__(self, since: float, deadline: float) -> None:
        self.since = since
        self.deadline = deadline
        self.target: Target | None = None


class LoadBalancer:
    """The links that may be chosen, and the queue. ``size``: how many may wait."""

    __slots__ = ("_size", "_targets", "queue")

    def __init__(self, size: int) -> None:
        self._size = size
        self._targets: list[Target] = []
        self.queue: deque[Ticket] = deque()

    @property
    def empty(self) -> bool:
        """Whether there is no link at all."""
        return not self._targets

    def add(self, target: Target) -> None:
        """From now on requests may go there. Adding it again changes nothing."""
        if target not in self._targets:
            self._targets.append(target)

    def remove(self, target: Target) -> bool:
        """No further request goes there; whether any did before."""
        if target not in self._targets:
            return False
        self._targets.remove(target)
        return True

    def take(self) -> Target | None:
        """A place for a request that has just come, or None: none is free, or others wait for one."""
        return None if self.queue else self._take()

    def give_back(self, target: Target) -> None:
        """A request has ended. If somebody waits, ``assign`` has something to do."""
        target.in_use -= 1

    def join(self, since: float, deadline: float) -> Ticket | None:
        """Wait at the end of the queue; None if it is full."""
        if len(self.queue) >= self._size:
            return None
        ticket = Ticket(since, deadline)
        self.queue.append(ticket)
        return ticket

    def rejoin(self, since: float, deadline: float) -> Ticket:
        """Wait at the head of the queue: this request was in it, or past it, before. It is never full for those."""
        ticket = Ticket(since, deadline)
        self.queue.appendleft(ticket)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Whoever waits gives up; a place that it was given goes back."""
        if ticket.target is not None:
            self.give_back(ticket.target)
            ticket.target = None
        elif ticket in self.queue:
            self.queue.remove(ticket)

    def assign(self) -> list[Ticket]:
        """Give free places to those who wait, in order; these have one now."""
        found: list[Ticket] = []
        while self.queue:
            target = self._take()
            if target is None:
                break
            ticket = self.queue.popleft()
            ticket.target = target
            found.append(ticket)
        return found

    def expire(self, now: float) -> list[Ticket]:
        """Those who have waited too long; they are no longer in the queue."""
        late = [ticket for ticket in self.queue if ticket.deadline <= now]
        if late:
            self.queue = deque(ticket for ticket in self.queue if ticket.deadline > now)
        return late

    def next_deadline(self) -> float | None:
        """When ``expire`` has something to do."""
        return min((ticket.deadline for ticket in self.queue), default=None)

    def _take(self) -> Target | None:
        best: Target | None = None
        least = ties = 0
        for target in self._targets:
            in_use = target.in_use
            if in_use >= target.capacity or target.cooling_down:
                continue
            if best is None or in_use < least:
                best, least, ties = target, in_use, 1
            elif in_use == least:
                ties += 1
                if _random() * ties < 1.0:  # each of n equals with chance 1/n
                    best = target
        if best is not None:
            best.in_use += 1
        return best
