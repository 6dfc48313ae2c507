"""Conversion of models to plain values and back, without validation.

``dump`` returns what an operator could have written. ``pack`` and ``unpack`` carry a Config from the supervisor, which
has validated it, to its fronts, which do not validate it again: ``ipc/control.py`` ensures that both ends are one
installation.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, get_args, get_origin

from sidegate.config.model import Model
from sidegate.config.rules import Before
from sidegate.config.structure import bare, fields, is_model

M = TypeVar("M", bound=Model)


def dump(value: Model, *, defaults: bool = True) -> dict[str, Any]:
    """``value`` in long forms with the keys and scalars of a file; ``defaults=False`` omits default values."""
    return {
        key: _written(item, field.annotation, defaults)
        for key, field in fields(type(value)).items()
        for item in [getattr(value, field.name)]
        if defaults or item != field.default
    }


def _written(value: Any, annotation: Any, defaults: bool) -> Any:
    if isinstance(value, Model):
        return dump(value, defaults=defaults)
    kind = bare(annotation)
    if isinstance(value, tuple):
        return [_written(item, get_args(kind)[0], defaults) for item in value]
    if isinstance(value, dict):
        return {key: _written(item, get_args(kind)[1], defaults) for key, item in value.items()}
    write = _writer(annotation)
    return value if value is None or write is None else write(value)


def _writer(annotation: Any) -> Any:
    """The function that writes a scalar in another form than it has: ``write`` of the rule among its annotations."""
    parts = [annotation, *get_args(annotation)]  # in `Duration | None`, the rule is inside
    rules = [rule for part in parts for rule in getattr(part, "__metadata__", ())]
    return next((rule.write for rule in rules if isinstance(rule, Before)), None)


def pack(value: Model) -> dict[str, Any]:
    """``value`` as plain values with the fields' own names, for JSON."""
    return dataclasses.asdict(value)  # type: ignore[call-overload, no-any-return]  # Model itself is no dataclass, every model is


def unpack(model: type[M], data: dict[str, Any]) -> M:
    """The model that was given to ``pack``."""
    return model(
        **{field.name: _unpacked(data[field.name], bare(field.annotation)) for field in fields(model).values()}
    )


def _unpacked(value: Any, kind: Any) -> Any:
    if value is None:
        return None
    if is_model(kind):
        return unpack(kind, value)
    if get_origin(kind) is tuple:
        return tuple(_unpacked(item, bare(get_args(kind)[0])) for item in value)
    if get_origin(kind) is dict:
        return {key: _unpacked(item, bare(get_args(kind)[1])) for key, item in value.items()}
    return value
