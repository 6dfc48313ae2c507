"""The states of one child process, as a table.

Where it stands: the bottom of the supervisor; no process, clock or socket is touched here. The plan reads
these values, the supervisor's loop applies events to them.

    STARTING ──ready──► READY ──serve──► SERVING ──drain──► DRAINING ──drained──► ENDING ──exited──► DEAD
        │                 │                 │                   │                    │
        └──── drain, failed, abort, kill and exited lead to the right from every state ────► KILLED ──► DEAD

A child *leaves* when it first enters a state to the right of SERVING: from that moment it takes no new
connections and its slot is vacant, though the process may live on to finish what it has begun.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace


class State(enum.Enum):
    """What a child is doing."""

    STARTING = "starting"  # importing applications, running their lifespan startup
    READY = "ready"  # could serve, was not told to yet
    SERVING = "serving"  # accepts connections
    DRAINING = "draining"  # finishes what it has begun
    ENDING = "ending"  # has nothing left to do; about to exit
    KILLED = "killed"  # was sent SIGKILL, is not reaped yet
    DEAD = "dead"  # reaped


class Event(enum.Enum):
    """What happens to a child: its own word, an order of the supervisor, or the kernel's."""

    READY = "ready"  # its word
    FAILED = "failed"  # its word: it could not start
    DRAINED = "drained"  # its word: every exchange is finished
    SERVE = "serve"  # order
    DRAIN = "drain"  # order; or its word, when somebody sent SIGTERM to the child itself
    ABORT = "abort"  # order: cut everything, then exit
    KILL = "kill"  # order: SIGKILL
    EXITED = "exited"  # waitpid reported it


_LEAVING = {
    Event.FAILED: State.ENDING,
    Event.DRAINED: State.ENDING,
    Event.ABORT: State.ENDING,
    Event.KILL: State.KILLED,
    Event.EXITED: State.DEAD,
}

# Orders and words cross each other in the control socket, so late words change nothing: a child that was told
# to drain may still say that it is ready, one that was killed may have said anything before.
TRANSITIONS: dict[State, dict[Event, State]] = {
    State.STARTING: {**_LEAVING, Event.READY: State.READY, Event.DRAIN: State.DRAINING},
    State.READY: {**_LEAVING, Event.SERVE: State.SERVING, Event.DRAIN: State.DRAINING},
    State.SERVING: {**_LEAVING, Event.DRAIN: State.DRAINING},
    State.DRAINING: {**_LEAVING, Event.READY: State.DRAINING, Event.DRAIN: State.DRAINING},
    State.ENDING: {
        **dict.fromkeys((Event.READY, Event.DRAIN, Event.FAILED, Event.DRAINED, Event.ABORT), State.ENDING),
        Event.KILL: State.KILLED,
        Event.EXITED: State.DEAD,
    },
    State.KILLED: {
        **dict.fromkeys((Event.READY, Event.DRAIN, Event.FAILED, Event.DRAINED), State.KILLED),
        Event.EXITED: State.DEAD,
    },
    State.DEAD: {},
}

_IN_SLOT = frozenset({State.STARTING, State.READY, State.SERVING})


class ImpossibleEventError(Exception):
    """An event that the table does not allow in the child's state: a defect of the supervisor or of the child."""


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """One child process, living or dead. Times are seconds on the supervisor's monotonic clock.

    ``serial`` numbers the children of one supervisor (the kernel reuses pids). ``failures`` counts the short
    lives in a row in this slot before this child. ``since`` is when it entered ``state``, ``served`` when it began
    to serve, ``left`` when it left. ``exit_code`` is what the supervisor exits with if this child stops the
    very first start.
    """

    serial: int
    slot: int
    failures: int
    since: float
    state: State = State.STARTING
    served: float | None = None
    left: float | None = None
    exit_code: int = 3

    def after(self, event: Event, now: float) -> ChildStatus:
        """The child after ``event``.

        :raises ImpossibleEventError: the table has no such transition.
        """
        state = TRANSITIONS[self.state].get(event)
        if state is None:
            raise ImpossibleEventError(f"{event.value} while {self.state.value}")
        if state is self.state:
            return self
        served = now if state is State.SERVING else self.served
        left = now if self.left is None and state not in _IN_SLOT else self.left
        return replace(self, state=state, since=now, served=served, left=left)
