"""The one rule by which caches of what peers and applications send are bounded.

A cache is a plain dict, so that a hit costs a look-up and nothing else. Only a miss calls ``remember``. A full cache is
emptied: one that kept its first entries instead could be filled once, by one client, and would then be off for all
others until the process ends. What is usual is cached again when it is used the next time. Whoever calls it leaves out
entries that are too large, because a cache is bounded in bytes, too. It raises no error.
"""

from __future__ import annotations

from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


def remember(cache: dict[Key, Value], key: Key, value: Value, most: int) -> None:
    """Store an entry in a cache of at most ``most`` entries; a cache that is full loses all others."""
    if len(cache) >= most:
        cache.clear()
    cache[key] = value
