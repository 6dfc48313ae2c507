"""Messages between the supervisor and a child: JSON objects, one per line, over a socket pair.

Both sides import this module. It defines the framing and the names of the messages, not their meaning. A socket pair
cannot lose or reorder data, so messages have no numbers and no acknowledgements. Only the first message has a version:
both processes come from one installation, but it may have been upgraded since the supervisor started. The end of the
stream means that the other process has exited. A ``Channel`` raises no errors of its socket, except in ``pass_on``.
An application may write into any descriptor of its process, so a line that is no message is reported and ignored.

Supervisor to front:

==============  ==========================================================================================
``config``      first, once: ``config`` (the Config), ``sockets`` (listener name -> descriptors), ``cells``
                (descriptor of the child's counters), ``supervisor`` (pid), ``version``, ``ignored`` (numbers of
                the signals that the supervisor was told to ignore)
``ticketKeys``  the ``keys`` of TLS session tickets, in base64; the first encrypts, all decrypt; after ``ready``, before
                ``serve`` and on every change
``workers``     which workers of the pool ``backend`` may get requests: ``workers`` (pairs of serial and
                socket path), always the whole list; after ``ready``, before ``serve`` and on every change
``serve``       accept connections
``drain``       finish the requests in flight within ``grace`` seconds, then exit
``abort``       abort all requests and connections, then exit
``reopen``      open the access log's file again
==============  ==========================================================================================

Front to supervisor:

==============  ==========================================================================================
``ready``       able to serve; ``engines`` that it uses, ``interfaces`` (backend -> description of its application)
``failed``      cannot start: ``problems`` (pairs of path and message in the configuration) or ``message``
``draining``    the child itself received SIGTERM and drains
``drained``     no request is in flight; the child exits next
``statistics``  every few seconds: ``statistics`` of its Runtime
``pressure``    ``queued`` requests wait for a worker of ``backend``: sent when requests begin to wait, then at most
                every 100 ms, and once with 0 when none waits
``exhausted``   all threads of the WSGI application ``backend`` in this front are stuck; sent again if it recovers and
                they get stuck again
``stuck``       the worker ``serial`` of ``backend`` has not answered PING within the pool's liveness timeout
==============  ==========================================================================================

Supervisor to worker: ``drain`` and ``abort`` as to a front, and first, once, ``config`` with ``version``, ``config``
(``config.hop.worker_config``), ``pool``, ``backend`` (its name), ``socket`` (descriptor, listening), ``cells``,
``supervisor`` and ``ignored``. Worker to supervisor: ``ready``, ``failed`` (``message``), ``draining``, ``drained`` and
``exhausted`` as a front, and ``retire`` with ``cause`` to request a successor; the worker goes on serving until it is
told to drain. SIGTERM makes it send ``retire``, a second one ``draining``.

A preloader is started as a worker is, with the additional argument ``preload``, and gets the same ``config`` without
``socket`` and ``cells``. It sends ``ready`` with ``found`` (a description of the application that it imported) or
``failed``. SIGTERM ends it; its workers go on. A worker that it forked has its own control socket and gets no
``config``, because the preloader had it.

=============  ===========================================================================================
``fork``       to the preloader: fork the worker ``number``, with three descriptors passed with the message:
               its control socket, its listening socket, its cells
``forked``     from it: the worker ``number`` is the process ``pid``; it closes its copies of the descriptors next
``exited``     from it: the forked process ``pid`` has exited with ``status``, negative for a signal
``reap``       to it, the answer to ``exited``: the process ``pid`` gets no signal any more, so its pid may be reused
=============  ===========================================================================================
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import json
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Message = dict[str, Any]

READ_SIZE = 65536

ABORT_TIME = 2.0
"""Seconds that a child has, after its own deadline, to abort the remaining requests and to stop its applications."""


def front_drain_time(seconds: float) -> float:
    """The part of a stop time that a child may use to drain.

    In the rest it aborts requests itself (with GOAWAY, log lines and lifespan shutdown) before the parent kills it.
    """
    return seconds - min(ABORT_TIME, seconds / 4)


LATEST = frozenset({"workers", "reopen", "pressure", "statistics"})
"""Messages that report a state, of ``backend`` if they name one. Only the last one counts, so while the other side does
not read, one of them waits and not all."""

INVALID = "invalid"
"""The type of the message that a ``Channel`` itself makes of the first line that is no message."""

INVALID_TEXT = "bytes on its control socket are no message of Sidegate; they are ignored"
"""For a log line: what was wrong. An application has written into a descriptor that it did not open."""


def encode_keys(keys: Iterable[bytes]) -> list[str]:
    """Secret bytes for a message. A message passes through a socket pair only, so nobody else can read it."""
    return [base64.b64encode(key).decode("ascii") for key in keys]


def decode_keys(texts: Iterable[str]) -> list[bytes]:
    """The inverse of ``encode_keys``."""
    return [base64.b64decode(text) for text in texts]


def encode(kind: str, **fields: Any) -> bytes:
    """One message as a line."""
    return json.dumps({"type": kind, **fields}, separators=(",", ":")).encode() + b"\n"


class Decoder:
    """Splits received bytes into messages. ``invalid``: whether there was a line that is no message."""

    def __init__(self) -> None:
        self.invalid = False
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """Take ``data`` and return the messages that it completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        messages = [message for line in lines if (message := _decoded(line)) is not None]
        self.invalid = self.invalid or len(messages) < len(lines)
        return messages


def _decoded(line: bytes) -> Message | None:
    """The message; None if the line is none."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and isinstance(message.get("type"), str) else None


def receive_first(sock: socket.socket) -> Message | None:
    """Wait for the first message on a blocking socket; None if the other side has closed it.

    The supervisor sends nothing after it until it gets an answer, so nothing is read beyond it.
    """
    decoder = Decoder()
    while data := sock.recv(READ_SIZE):
        if messages := decoder.feed(data):
            return messages[0]
    return None


def send_last(sock: socket.socket, kind: str, **fields: Any) -> None:
    """Send one message and wait until the socket has taken all of it; do nothing if the other side has closed it."""
    sock.setblocking(True)
    with contextlib.suppress(OSError):
        sock.sendall(encode(kind, **fields))


class Channel:
    """One end of the socket pair in the running event loop.

    ``on_message`` is called with each message, ``on_gone`` once when the other side has closed its end. The channel
    reads the socket itself instead of using a transport: when the supervisor learns that a child has exited, it must
    first read the child's last messages (``read_available``), because an event loop may report the exit before them.
    """

    def __init__(self, sock: socket.socket, on_message: Callable[[Message], None], on_gone: Callable[[], None]) -> None:
        sock.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        self._on_message = on_message
        self._on_gone = on_gone
        self._decoder = Decoder()
        self._unsent = b""  # the rest of a message
        self._waiting: dict[object, tuple[str, dict[str, Any]]] = {}  # the messages behind it, in order
        self._open = True
        self._reported = False  # a line that is no message
        self._loop.add_reader(sock, self.read_available)

    def send(self, kind: str, **fields: Any) -> None:
        """Queue one message; do nothing if the other side has closed its end.

        A message of ``LATEST`` takes the place of an earlier one that still waits, and the fields of the message must
        not be changed afterwards.
        """
        if self._open:
            key = (kind, fields.get("backend")) if kind in LATEST else object()
            self._waiting[key] = kind, fields
            self._flush()

    def pass_on(self, descriptors: Sequence[int], kind: str, **fields: Any) -> None:
        """Send one small message together with descriptors, immediately.

        :raises OSError: the other side has closed its end, or reads so slowly that the socket's buffer is full.
        """
        data = encode(kind, **fields)
        if not self._open or self._unsent or self._waiting:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        # A stream socket takes a message that fits into its buffer either completely or not at all.
        socket.send_fds(self._socket, [data], descriptors)

    def read_available(self) -> None:
        """Handle everything that has arrived."""
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
            if self._decoder.invalid and not self._reported:
                self._reported = True
                self._on_message({"type": INVALID})

    def close(self) -> None:
        """Stop watching the socket, without closing it. Calling it again does nothing."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)

    def finish(self) -> None:
        """``close``, and wait until the socket has taken the rest of what was sent.

        Without the rest, the next line on the socket (``send_last``) would be appended to a part of a message.
        """
        self.close()
        self._socket.setblocking(True)
        with contextlib.suppress(OSError):  # the other side has closed its end
            self._write()

    def _flush(self) -> None:
        try:
            self._write()
        except BlockingIOError:
            self._loop.add_writer(self._socket, self._flush)
            return
        except OSError:
            self._unsent = b""  # reading will report that the other side has closed its end
            self._waiting.clear()
        self._loop.remove_writer(self._socket)

    def _write(self) -> None:
        """Write everything.

        :raises OSError: the socket takes no more now, or the other side has closed its end.
        """
        while self._unsent or self._waiting:
            if not self._unsent:
                kind, fields = self._waiting.pop(next(iter(self._waiting)))
                self._unsent = encode(kind, **fields)
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
