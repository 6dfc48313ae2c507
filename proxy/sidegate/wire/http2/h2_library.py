"""What the h2 engine uses of the packages h2 and hpack; the only module that imports them.

Where it stands: below the engine's modules. In a worker these import statements get the packages that the supervisor's
installation lends, under private names, whatever the worker's environment contains (``ipc/borrowed_packages.py``);
everywhere else they are ordinary. The module must stay uncompiled for that.
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
