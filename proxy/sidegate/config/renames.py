"""The keys that were renamed, so that an old file gets the new names instead of "unknown key"."""

from __future__ import annotations

from sidegate.config.checks import Path

_MOVED = (
    "tlsHandshake", "http2Preface", "continuation", "requestHead", "bodyIdle", "keepAlive", "connectionLife",
)  # fmt: skip

RENAMED: dict[Path, str] = {
    ("limits", "exchanges"): "limits.concurrentRequests",
    ("limits", "writeStall"): "timeouts.write",
    **{("limits", key): f"timeouts.{key}" for key in _MOVED},
}
"""Old path to new name; both are at the top level or both in a listener."""


def new_name(path: Path) -> str | None:
    """The new name of the key at ``path``; None if it was not renamed."""
    return RENAMED.get(path[2:] if path[:1] == ("listeners",) else path)
