"""Durations (Kubernetes Gateway API, GEP-2257) and sizes (Kubernetes quantities in powers of 1024).

A duration is seconds (float) in Python and text such as ``1m30s`` in a file; a size is bytes (int) in Python and
``16Mi`` in a file. Python code may pass plain numbers. A file must not have a duration as a bare number, because a
reader could not know whether it means seconds or milliseconds.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any

from sidegate.config.rules import Before

if TYPE_CHECKING:
    from pydantic import ValidationInfo

_DURATION = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")  # GEP-2257's own pattern
_DURATION_PART = re.compile(r"([0-9]+)(ms|h|m|s)")
_MILLISECONDS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}

_SIZE = re.compile(r"([0-9]{1,15})(Ki|Mi|Gi)?")
_BYTES = {"Gi": 1024**3, "Mi": 1024**2, "Ki": 1024}


def parse_duration(text: str) -> float:
    """Parse ``30s``, ``1m30s``, ``500ms`` to seconds. Raises ValueError."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"must be a duration such as 30s, 1m30s or 500ms, not {text!r}")
    return sum(int(count) * _MILLISECONDS[unit] for count, unit in _DURATION_PART.findall(text)) / 1000


def format_duration(seconds: float) -> str:
    """The shortest text that ``parse_duration`` turns back into ``seconds`` (whole milliseconds)."""
    rest = round(seconds * 1000)
    parts = []
    for unit, length in _MILLISECONDS.items():
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_size(text: str) -> int:
    """Parse ``16Mi``, ``8Ki``, ``1024`` to bytes. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError(f"must be a size such as 8Ki, 16Mi, 1Gi or a number of bytes, not {text!r}")
    return int(match[1]) * _BYTES.get(match[2], 1)


def format_size(size: int) -> int | str:
    """``16Mi`` if a unit divides ``size``, else the plain number of bytes."""
    for unit, length in _BYTES.items():
        if size and size % length == 0:
            return f"{size // length}{unit}"
    return size


def _read_duration(value: object, info: ValidationInfo) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a duration such as 30s, 1m30s or 500ms")
    if info.mode == "json":
        raise ValueError(f"must be a duration with a unit, such as {value}s or {value}ms, not the bare number {value}")
    # Whole milliseconds, because the written form cannot express less.
    return round(value * 1000) / 1000 if math.isfinite(value) else value


def _read_size(value: object) -> object:
    if isinstance(value, str):
        return parse_size(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a size such as 8Ki, 16Mi, 1Gi or a whole number of bytes")
    return value


DURATION_SCHEMA: dict[str, Any] = {
    "type": "string",
    "pattern": f"^{_DURATION.pattern}$",
    "examples": ["30s", "1m30s", "500ms"],
}
SIZE_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^{_SIZE.pattern}$"}],
    "examples": [1024, "8Ki", "16Mi"],
}

Duration = Annotated[float, Before(_read_duration, DURATION_SCHEMA, format_duration)]
"""Seconds as float; ``30s``, ``1m30s``, ``500ms`` in a file."""

Size = Annotated[int, Before(_read_size, SIZE_SCHEMA, format_size)]
"""Bytes as int; ``8Ki``, ``16Mi`` or a plain number in a file."""
