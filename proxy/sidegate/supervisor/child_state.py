"""The states of one child process, as a table.

This module uses no process, clock or socket. The plan reads these values, and the supervisor's loop applies events to
them.

    STARTING ──ready──► READY ──serve──► SERVING ──drain──► DRAINING ──drained──► ENDING ──exited──► DEAD
        │                 │                 │                   │                    │
        ├─interrupt─► INTERRUPTED ──drain───────────────────────┤                    │
        └── drain, failed, dump, abort, kill and exited lead to the right from every state ────► KILLED ──► DEAD

A child *leaves* when it first enters a state to the right of SERVING: from that moment it takes no new
connections and its slot is vacant, although the process may continue to run to finish its requests.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace


class State(enum.Enum):
    """The state of a child."""

    STARTING = "starting"  # importing applications, running their lifespan startup
    INTERRUPTED = "interrupted"  # was sent SIGTERM while it started, has not reacted yet
    READY = "ready"  # able to serve, but not told to yet
    SERVING = "serving"  # accepts connections
    DRAINING = "draining"  # finishes the requests in flight
    ENDING = "ending"  # has no requests left; about to exit
    KILLED = "killed"  # was sent SIGKILL, is not reaped yet
    DEAD = "dead"  # reaped


class Event(enum.Enum):
    """An event of a child: a message from it, an order of the supervisor, or its exit."""

    READY = "ready"  # message
    FAILED = "failed"  # message: it could not start
    DRAINED = "drained"  # message: every exchange has ended
    SERVE = "serve"  # order
    INTERRUPT = "interrupt"  # order: SIGTERM, because a child that starts may not read messages
    DRAIN = "drain"  # order; or message, when the child itself received SIGTERM
    DUMP = "dump"  # order: SIGABRT, because its event loop is blocked: it prints its stacks and exits
    ABORT = "abort"  # order: abort all requests, then exit
    KILL = "kill"  # order: SIGKILL
    EXITED = "exited"  # waitpid reported it


_LEAVING = {
    Event.FAILED: State.ENDING,
    Event.DRAINED: State.ENDING,
    Event.DUMP: State.ENDING,
    Event.ABORT: State.ENDING,
    Event.KILL: State.KILLED,
    Event.EXITED: State.DEAD,
}

# An order and a message may cross in the control socket, so late messages change nothing: a child that was told to
# drain may still send "ready", and a child that was killed may have sent any message before.
TRANSITIONS: dict[State, dict[Event, State]] = {
    State.STARTING: {
        **_LEAVING,
        Event.READY: State.READY,
        Event.INTERRUPT: State.INTERRUPTED,
        Event.DRAIN: State.DRAINING,
    },
    State.INTERRUPTED: {**_LEAVING, Event.READY: State.INTERRUPTED, Event.DRAIN: State.DRAINING},
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
    """The status of one child process, running or exited. Times are seconds on the supervisor's monotonic clock.

    ``serial`` numbers the children of one supervisor (the kernel reuses pids). ``failures``: number of children in a
    row, in this slot before this child, that failed or served too briefly. ``since`` is when it entered ``state``,
    ``served`` when it began to serve, ``left`` when it left. ``dumped``: it was sent SIGABRT. ``exit_code`` is the
    supervisor's exit code if this child makes the first start fail.
    """

    serial: int
    slot: int
    failures: int
    since: float
    state: State = State.STARTING
    served: float | None = None
    left: float | None = None
    dumped: bool = False
    exit_code: int = 3

    def after(self, event: Event, now: float) -> ChildStatus:
        """The child's status after ``event``.

        :raises ImpossibleEventError: the table has no such transition.
        """
        state = TRANSITIONS[self.state].get(event)
        if state is None:
            raise ImpossibleEventError(f"{event.value} while {self.state.value}")
        if state is self.state:
            return self
        served = now if state is State.SERVING else self.served
        left = now if self.left is None and state not in _IN_SLOT else self.left
        dumped = self.dumped or event is Event.DUMP
        return replace(self, state=state, since=now, served=served, left=left, dumped=dumped)
