"""What llhttp finds in one head, of a request or a response: the callbacks that httptools calls.

It is no part of a head reader, so that parser and reader make no reference cycle.
"""

from __future__ import annotations

from sidegate.asgi import Headers


class HeadParts:
    """The fields of a head, their names in lower case, and whether the head was complete."""

    __slots__ = ("complete", "fields")

    def __init__(self) -> None:
        self.fields: Headers = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called for each field; llhttp has stripped the white space before the value."""
        self.fields.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """Called at the end of the head."""
        self.complete = True
