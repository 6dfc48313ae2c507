"""Messages between the supervisor and a child: JSON objects, one a line, over a socket pair.

Where it stands: beside the configuration; both sides import it and it imports nothing above. It owns the framing
and the names of the messages, not their meaning. A socket pair cannot lose or reorder anything, so there are no
numbers and no acknowledgements; and no versions but one in the first message, because both ends come from one
installation that may have been upgraded meanwhile. The end of the stream is a message too: the other process is
gone. No error of the socket leaves it.

Supervisor to front:

==============  ==========================================================================================
``config``      first, once: ``config`` (the Config), ``sockets`` (listener name -> descriptors), ``cells``
                (descriptor of the child's counters), ``supervisor`` (pid), ``version``
``workers``     which workers of the pool ``backend`` may get requests: ``workers`` (pairs of serial and
                socket path), always the whole list; after ``ready``, before ``serve`` and on every change
``serve``       accept connections
``drain``       finish what has begun within ``grace`` seconds, then exit
``abort``       cut everything, then exit
``reopen``      open the access log's file again
==============  ==========================================================================================

Front to supervisor:

==============  ==========================================================================================
``ready``       could serve; ``engines`` that it runs on, ``interfaces`` (backend -> what its application is)
``failed``      cannot start: ``problems`` (pairs of path and message in the configuration) or ``message``
``draining``    somebody sent SIGTERM to the child itself
``drained``     nothing is left in flight; exits next
``statistics``  from time to time: ``statistics`` of its Runtime
``pressure``    ``queued`` requests wait for a worker of ``backend``: when a queue appears, then at most every
                100 ms, and 0 once when it is gone
``exhausted``   all threads of the WSGI application ``backend`` in this front are stuck; said again if it recovers and
                they get stuck again
``stuck``       the worker ``serial`` of ``backend`` has not answered PING within the pool's liveness timeout
==============  ==========================================================================================

Supervisor to worker: ``drain`` and ``abort`` as to a front, and first, once, ``config`` with ``version``, ``config``
(``config.hop.worker_config``), ``pool``, ``backend`` (its name), ``socket`` (descriptor, listening), ``cells`` and
``supervisor``. Worker to supervisor: ``ready``, ``failed`` (``message``), ``draining``, ``drained`` and ``exhausted``
as a front, and ``retire`` with ``cause`` when it wants a successor; it goes on serving until it is told to drain.

A preloader is started as a worker is, with the word ``preload`` behind the descriptor's number, and gets the same
``config`` without ``socket`` and ``cells``. It says ``ready`` with ``found`` (the words for the kind of application
that it imported) or ``failed``. SIGTERM ends it; its workers go on. A worker that it forked has its own control socket
and gets no ``config``, because the preloader had it.

=============  ===========================================================================================
``fork``       to the preloader: fork the worker ``number``, with three descriptors beside the message: its
               control socket, its listening socket, its cells
``forked``     from it: the worker ``number`` is the process ``pid``
``exited``     from it: the forked process ``pid`` ended with ``status``, negative for a signal
=============  ===========================================================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

Message = dict[str, Any]

READ_SIZE = 65536

CUT_TIME = 2.0
"""Seconds that a front has, after its own deadline, to cut what is late and to end its applications in good order."""


def share_of_front(seconds: float) -> float:
    """The front's part of a time to stop in: it cuts in good order (GOAWAY, log lines, lifespan) before the parent."""
    return seconds - min(CUT_TIME, seconds / 4)


def encode(kind: str, **fields: Any) -> bytes:
    """One message as a line."""
    return json.dumps({"type": kind, **fields}, separators=(",", ":")).encode() + b"\n"


class Decoder:
    """Bytes in, messages out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """The messages that ``data`` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]


def receive_first(sock: socket.socket) -> Message | None:
    """Wait for the first message on a blocking socket; None if the other side is gone.

    The supervisor sends nothing after it until it is answered, so nothing is read beyond it.
    """
    decoder = Decoder()
    while data := sock.recv(READ_SIZE):
        if messages := decoder.feed(data):
            return messages[0]
    return None


def send_last(sock: socket.socket, kind: str, **fields: Any) -> None:
    """Send one message and wait until it is taken, however long it is; a side that is gone gets none."""
    sock.setblocking(True)
    with contextlib.suppress(OSError):
        sock.sendall(encode(kind, **fields))


class Channel:
    """One end of the socket pair in the running event loop.

    ``on_message`` is called with each message, ``on_gone`` once when the other side is gone. It reads the socket
    itself instead of using a transport, because the supervisor, when it learns of a child's death, must have the
    child's last words before it judges (``read_available``): the order of two ready descriptors says nothing.
    """

    def __init__(self, sock: socket.socket, on_message: Callable[[Message], None], on_gone: Callable[[], None]) -> None:
        sock.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        self._on_message = on_message
        self._on_gone = on_gone
        self._decoder = Decoder()
        self._unsent = b""
        self._open = True
        self._loop.add_reader(sock, self.read_available)

    def send(self, kind: str, **fields: Any) -> None:
        """Queue one message; nothing happens if the other side is gone."""
        if self._open:
            self._unsent += encode(kind, **fields)
            self._flush()

    def pass_on(self, descriptors: Sequence[int], kind: str, **fields: Any) -> None:
        """Send one small message with descriptors beside it, now.

        :raises OSError: the other side is gone, or reads so little that the socket has no room.
        """
        data = encode(kind, **fields)
        if not self._open or self._unsent:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        # A stream socket takes a message that fits into its buffer whole or not at all.
        socket.send_fds(self._socket, [data], descriptors)

    def read_available(self) -> None:
        """Take everything that has arrived."""
        while self._open:
            try:
                data = self._socket.recv(READ_SIZE)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                self._on_gone()
                return
            for message in self._decoder.feed(data):
                self._on_message(message)

    def close(self) -> None:
        """Let go of the socket; it stays open. Calling it again does nothing."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)

    def _flush(self) -> None:
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent = b""  # the reader will see that the other side is gone
        if self._unsent:
            self._loop.add_writer(self._socket, self._flush)
        else:
            self._loop.remove_writer(self._socket)
