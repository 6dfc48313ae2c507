"""pydantic's errors as plain sentences: what is required, and what was written instead.

The sentences complete "``<path>``: …". They contain nothing of pydantic: no class names, no ``Input should be``, no
URLs.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from pydantic_core import ErrorDetails

from sidegate.config.checks import Path, suggestion
from sidegate.config.foreign import advice, folded
from sidegate.config.quantities import format_duration, format_size
from sidegate.config.renames import new_name
from sidegate.config.structure import home_of, keys_at, short_forms_at, top_level_keys

MAX_LENGTH = 400

TYPING_ERROR = 0.85
"""How near a known key has to be so that an unknown one is a typing error, whatever it means to another server."""


class Finding(NamedTuple):
    """One mistake. ``at_key``: its position is that of the key at ``path``, not of the value."""

    path: Path
    message: str
    at_key: bool = False


_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys to values",
    "dataclass_type": "a mapping of keys to values",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
}


def counts(error: ErrorDetails, root: Any) -> bool:
    """Whether ``error`` is a mistake of its own.

    pydantic also calls a list "too short" if all its entries are wrong. An error without a path comes from Config's
    comparison of its parts, which the loader repeats with paths.
    """
    if error["type"] == "too_short":
        return bool(value_at(root, error["loc"]) == [])
    return bool(error["loc"])


def explain(error: ErrorDetails, root: Any) -> Finding:
    """The sentence for one error of ``ValidationError.errors()``; ``root`` is the whole file as plain values."""
    path: Path = error["loc"]
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        return Finding(path[:-1], _missing(path), at_key=True)
    if kind == "unexpected_keyword_argument":
        return Finding(path, _unknown(path, root), at_key=True)
    if path and path[-1] == "[key]":
        return Finding(path[:-1], _sentence(error["msg"], context), at_key=True)
    if kind in _EXPECTED:
        return Finding(path, f"must be {_EXPECTED[kind]}, not {describe(error['input'], kind)}")
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        written = value_at(root, path)
        return Finding(path, f"must be {words} {_bound(context[key], written)}, not {written}")
    if kind == "too_short":
        return Finding(path, "must have at least one entry")
    if kind == "literal_error":
        return Finding(path, _literal(context["expected"], error["input"]))
    return Finding(path, _sentence(error["msg"], context))


def describe(value: Any, kind: str = "") -> str:
    """Describe what was written; a value that only lacks quotes gets that advice."""
    if value is None:
        return "empty"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, str):
        return repr(value)
    written = str(value).lower() if isinstance(value, bool) else f"the number {value}"
    return f"{written}: put it in quotes" if kind == "string_type" else written


def value_at(root: Any, path: Path) -> Any:
    """The value at ``path``, None if there is none."""
    for part in path:
        if isinstance(root, dict):
            root = root.get(part)
        elif isinstance(root, list) and isinstance(part, int) and part < len(root):
            root = root[part]
        else:
            return None
    return root


def _missing(path: Path) -> str:
    short = {long[0]: short for short, long in short_forms_at(path[:-1]).items()}
    key = str(path[-1])
    return f"{key!r} is missing" if key not in short else f"{short[key]!r} (or {key!r}) is missing"


def _unknown(path: Path, root: Any) -> str:
    key = str(path[-1])
    short_forms = short_forms_at(path[:-1])
    if key in short_forms:
        long = short_forms[key][0]
        return f"{key!r} is the short form of {long!r}, which is set too: write one of them"
    if renamed := new_name(path):
        return f"renamed to {renamed!r}"
    if key in top_level_keys(path[:-1]):
        return f"is a limit of the whole process: set it in {path[-2]!r} at the top level only"
    written = value_at(root, path[:-1]) or {}  # there is no value if the file uses a short form
    known = keys_at(path[:-1])
    home = home_of(key, path[:-1])
    if home:
        return f"unknown key {key!r}; it belongs {home}"
    free = [word for word in known if word not in written]
    meant = advice(key, path[0])
    spelt = [word for word in known if folded(word) == folded(key)]
    hint = suggestion(key, spelt, 0.0) or suggestion(key, free, TYPING_ERROR)
    hint = hint or (meant and f"; {meant}") or suggestion(key, free)
    return f"unknown key {key!r}{hint or '; known keys here: ' + ', '.join(known)}"


def _literal(expected: str, value: Any) -> str:
    allowed = re.findall("'([^']+)'", expected)
    if not isinstance(value, str):  # quotes are advice only where they help: `minVersion: 1.2`
        return f"must be {expected}, not {describe(value, 'string_type' if str(value) in allowed else '')}"
    return f"must be {expected}, not {value!r}{suggestion(value, allowed)}"


def _bound(bound: float, written: Any) -> str:
    if not isinstance(written, str):
        return str(bound)
    return format_duration(bound) if isinstance(bound, float) else str(format_size(bound))


def _sentence(message: str, context: dict[str, Any]) -> str:
    text = str(context.get("error", message))
    return text if len(text) <= MAX_LENGTH else text[:MAX_LENGTH] + "…"
