"""What the h2 engine uses of the packages h2 and hpack; only this module imports them.

The engine's modules use it. In a worker these import statements get the packages of the supervisor's installation under
private names, whatever the worker's environment contains (``ipc/borrowed_packages.py``); elsewhere they are ordinary.
That works only if the module stays uncompiled.
"""

from __future__ import annotations

from h2 import __version__ as VERSION  # noqa: N812 - a constant here
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from h2.stream import H2Stream
from hpack import Decoder, Encoder, HeaderTuple, HPACKError, OversizedHeaderListError

__all__ = [
    "VERSION",
    "DataReceived",
    "Decoder",
    "Encoder",
    "Event",
    "H2Configuration",
    "H2Connection",
    "H2Stream",
    "HPACKError",
    "HeaderTuple",
    "OversizedHeaderListError",
    "ProtocolError",
    "SettingCodes",
    "Settings",
    "StreamReset",
]
