"""Selects the target that takes the next request, and keeps the queue of requests when no target is free, without I/O.

``WaitQueue`` and ``Balancer`` carry out its decisions: they wake the waiting requests and send on the connections.
Times are arguments, in seconds of the event loop's clock. It raises no error.

Theory of operation. The capacity of a target is the number of requests that it takes at once: the streams that an
upstream connection's peer allows, or the threads of a WSGI application. A request goes to the target with the fewest
requests in flight. Among equal targets the choice is random, because otherwise fronts, which do not communicate, would
all begin with the same worker. When no target is free, requests wait in one queue, first come, first served, and no
later request overtakes them. The queue is limited in length and time. A request that a peer refused waits again at the
head of the queue, for the rest of its time.
"""

from __future__ import annotations

import random
from collections import deque

_random = random.random  # when compiled, this name has a C type


class Target:
    """An upstream connection or the threads of an application, as the load balancer sees it.

    ``in_use``: number of requests that it has now, of ``capacity``. ``cooling_down``: it gets no request for a moment.
    """

    __slots__ = ("capacity", "cooling_down", "in_use")

    def __init__(self) -> None:
        self.in_use = 0
        self.capacity = 0
        self.cooling_down = False


class Ticket:
    """One request in the queue. ``target`` is set once it has one, whose ``in_use`` then already counts it."""

    __slots__ = ("deadline", "since", "target")

    def __init__(self, since: float, deadline: float) -> None:
        self.since = since
        self.deadline = deadline
        self.target: Target | None = None


class LoadBalancer:
    """The targets that may be selected, and the queue. ``size``: how many requests may wait."""

    __slots__ = ("_size", "_targets", "queue")

    def __init__(self, size: int) -> None:
        self._size = size
        self._targets: list[Target] = []
        self.queue: deque[Ticket] = deque()

    @property
    def empty(self) -> bool:
        """Whether there is no target at all, free or not."""
        return not self._targets

    def add(self, target: Target) -> None:
        """Let ``target`` be selected. To add it again changes nothing."""
        if target not in self._targets:
            self._targets.append(target)

    def remove(self, target: Target) -> bool:
        """Do not select ``target`` any more. Return whether it could be selected before."""
        if target not in self._targets:
            return False
        self._targets.remove(target)
        return True

    def take(self) -> Target | None:
        """Select a target for a new request. None if no target is free, or other requests wait for one."""
        return None if self.queue else self._take()

    def give_back(self, target: Target) -> None:
        """A request on ``target`` has ended. If requests wait, call ``assign`` next."""
        target.in_use -= 1

    def join(self, since: float, deadline: float) -> Ticket | None:
        """Add a request at the end of the queue; None if the queue is full."""
        if len(self.queue) >= self._size:
            return None
        ticket = Ticket(since, deadline)
        self.queue.append(ticket)
        return ticket

    def rejoin(self, since: float, deadline: float) -> Ticket:
        """Add a request that had a target, or was in the queue, before. It goes to the head, even of a full queue."""
        ticket = Ticket(since, deadline)
        self.queue.appendleft(ticket)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """A request stops waiting: remove it from the queue, or give back the target that it was assigned."""
        if ticket.target is not None:
            self.give_back(ticket.target)
            ticket.target = None
        elif ticket in self.queue:
            self.queue.remove(ticket)

    def assign(self) -> list[Ticket]:
        """Assign free targets to the waiting requests, in order. Return those that have a target now."""
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
        """Remove the requests whose deadline has passed from the queue, and return them."""
        late = [ticket for ticket in self.queue if ticket.deadline <= now]
        if late:
            self.queue = deque(ticket for ticket in self.queue if ticket.deadline > now)
        return late

    def next_deadline(self) -> float | None:
        """The earliest deadline in the queue; None if the queue is empty."""
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
                if _random() * ties < 1.0:  # select each of n equal targets with probability 1/n
                    best = target
        if best is not None:
            best.in_use += 1
        return best
