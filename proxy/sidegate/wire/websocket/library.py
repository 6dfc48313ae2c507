"""What Sidegate uses of the package websockets; only this module imports it.

The handshake and the frames use it. In a worker these import statements get the package of the supervisor's
installation under a private name, whatever the worker's environment contains (``ipc/borrowed_packages.py``); elsewhere
they are ordinary. That works only if the module stays uncompiled.
"""

from __future__ import annotations

from websockets.exceptions import InvalidHeaderFormat, NegotiationError, PayloadTooBig, ProtocolError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Close, Frame, Opcode
from websockets.headers import build_extension, parse_extension
from websockets.protocol import Protocol, Side, State
from websockets.typing import ExtensionParameter

try:
    from websockets.speedups import apply_mask
except ImportError:  # another version of Python than the one it was compiled for
    from websockets.utils import apply_mask

__all__ = [
    "Close",
    "Extension",
    "ExtensionParameter",
    "Frame",
    "InvalidHeaderFormat",
    "NegotiationError",
    "Opcode",
    "PayloadTooBig",
    "PerMessageDeflate",
    "Protocol",
    "ProtocolError",
    "ServerPerMessageDeflateFactory",
    "Side",
    "State",
    "apply_mask",
    "build_extension",
    "parse_extension",
]
