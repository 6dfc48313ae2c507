"""Signal handlers of a process that runs an application, and what the application's own children get of them.

Fronts, workers, preloaders and ``standalone`` install every handler by this module; the supervisor uses ``given`` only.
A child that the application makes must behave as it would under the application's own ``python app.py``:

* ``exec`` keeps signals that are ignored, so a process started by ``subprocess`` would ignore ^C for ever. So signals
  are ignored by a handler that does nothing, which ``exec`` resets, and by SIG_IGN only where the shell had done so.
* ``fork`` keeps handlers and the descriptor that they write to. A forked child would ignore the SIGTERM that should end
  it, and report it to the parent's event loop, which would drain. So a forked child gets the handlers back that were
  given to this process, before it can receive a signal. It also closes the sockets named by ``close_in_children``:
  otherwise it would keep a port in use after the service has stopped.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import asyncio

Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | None
"""What ``signal.getsignal`` returns."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""Signals that stop a service. SIGQUIT is the STOPSIGNAL of images that were made for nginx; it dumps no core here."""

HANDLED = (*STOP_SIGNALS, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Every signal that Sidegate handles or ignores."""

LEFT_TO_SUPERVISOR = tuple(number for number in HANDLED if number is not signal.SIGTERM)
"""Signals that terminals and tools send to all processes, about which only the supervisor decides."""

_given: dict[int, Handler] = {}
_ours: dict[int, Handler] = {}
_close: list[socket.socket] = []
_forking = threading.local()


def remember_given() -> None:
    """Remember how this process was given its signals. Call it before anything changes them; a later call does nothing.

    From now on a forked child is reset as the module says.
    """
    if not _given:
        _given.update((number, signal.getsignal(number)) for number in HANDLED)
        os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_reset)


def ignored() -> list[int]:
    """The signals that the shell, ``nohup`` or the service manager told this process to ignore."""
    return [number for number, handler in _given.items() if handler is signal.SIG_IGN]


def ignore(numbers: Iterable[int], inherited: Iterable[int] = ()) -> None:
    """Ignore signals in this process only; those in ``inherited`` (``ignored`` of the supervisor) in its children too.

    SIGTERM in ``inherited`` has no effect: a process cannot handle a signal that its children ignore.
    """
    for number in numbers:
        if number in inherited:
            _given[number] = signal.SIG_IGN
        _install(number, signal.SIG_IGN if _given[number] is signal.SIG_IGN else _nothing)
        signal.siginterrupt(number, False)  # a C library need not expect EINTR from a signal that means nothing to it


def handle(loop: asyncio.AbstractEventLoop, number: int, callback: Callable[..., object], *arguments: object) -> None:
    """``loop.add_signal_handler`` whose handler no forked child keeps."""
    loop.add_signal_handler(number, callback, *arguments)
    _ours[number] = signal.getsignal(number)


def also(number: int, action: Callable[[], object]) -> None:
    """Call ``action``, too, when the signal arrives, even while the event loop is blocked by Python code.

    ``handle`` sets the handler alone again.
    """
    known = signal.getsignal(number)

    def both(number: int, frame: FrameType | None) -> None:
        action()
        if callable(known):
            known(number, frame)

    _install(number, both)


def on_signal(number: int, handler: Callable[[int, FrameType | None], object]) -> None:
    """``signal.signal`` whose handler no forked child keeps."""
    _install(number, handler)


def close_in_children(sock: socket.socket) -> None:
    """Close ``sock`` in every child that is forked from now on."""
    _close.append(sock)


def fork() -> int:
    """``os.fork`` for a process of our own: the child keeps handlers and sockets."""
    _forking.own = True
    try:
        return os.fork()
    finally:
        _forking.own = False


def _install(number: int, handler: Handler) -> None:
    signal.signal(number, handler)
    _ours[number] = handler


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """The handler of an ignored signal."""


def _before_fork() -> None:
    """Block the signals, so that the child cannot get one before ``_reset``."""
    if not getattr(_forking, "own", False):
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)


def _after_fork() -> None:
    if not getattr(_forking, "own", False):
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _reset() -> None:
    """In a forked child: restore the given handlers, except where the application has installed its own."""
    if getattr(_forking, "own", False):
        return
    signal.set_wakeup_fd(-1)  # it is the parent's event loop that would read it
    for number, handler in _ours.items():
        if signal.getsignal(number) == handler:
            signal.signal(number, _given[number])
    for sock in _close:
        # Not ``close``, which uvloop postpones for a socket in use; and ``fileno`` is -1 if it is closed already.
        if sock.fileno() >= 0:
            os.close(sock.detach())
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)
