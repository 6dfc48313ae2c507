"""Sockets passed by systemd (sd_listen_fds(3)), or by another program that sets the same three variables.

``LISTEN_PID`` is the pid of the process that the sockets are meant for, ``LISTEN_FDS`` their number, ``LISTEN_FDNAMES``
their colon-separated names (``FileDescriptorName=`` of the socket unit). They are the descriptors from 3 on.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import MutableMapping

FIRST_FD = 3


class PassedSockets:
    """The descriptors that were passed to this process. Each can be taken once."""

    def __init__(self, names: list[str], meant_for: str = "") -> None:
        self._names = dict(enumerate(names, FIRST_FD))
        self._meant_for = meant_for

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> PassedSockets:
        """Read the variables and remove them, so that no child uses them."""
        pid = environ.pop("LISTEN_PID", "")
        count = environ.pop("LISTEN_FDS", "")
        names = environ.pop("LISTEN_FDNAMES", "")
        if pid != str(os.getpid()) or not count.isdecimal():
            return cls([], meant_for=pid)
        known = names.split(":") if names else []
        # systemd calls a socket without a name "unknown".
        known += ["unknown"] * (int(count) - len(known))
        for fd in range(FIRST_FD, FIRST_FD + int(count)):
            with contextlib.suppress(OSError):  # a descriptor that is not open is reported when it is taken
                os.set_inheritable(fd, False)
        return cls(known[: int(count)])

    @property
    def left(self) -> list[str]:
        """The names of the descriptors that were not taken."""
        return sorted(set(self._names.values()))

    def take(self, name: str) -> list[int]:
        """Take the descriptors with the name ``name``, or all that are left if it is empty.

        :raises LookupError: there is none; the message says what was passed.
        """
        found = [fd for fd, own in self._names.items() if name in ("", own)]
        if not found:
            raise LookupError(self._what_was_passed(name))
        for fd in found:
            del self._names[fd]
        return found

    def _what_was_passed(self, name: str) -> str:
        wanted = f"no socket named {name!r} was passed" if name else "no socket was passed"
        if self._names:
            return f"{wanted}; remaining: {', '.join(sorted(set(self._names.values())))}"
        if self._meant_for not in ("", str(os.getpid())):
            return f"{wanted}: LISTEN_PID is {self._meant_for}, this process is {os.getpid()}; start it with `exec`"
        return f"{wanted}; start Sidegate with a systemd socket unit (FileDescriptorName= gives the name)"
