"""Conversion of models to plain values and back, without validation.

``dump`` returns what an operator could have written. ``pack`` and ``unpack`` carry a Config from the supervisor, which
has validated it, to its fronts, which do not validate it again: ``ipc/control.py`` ensures that both ends are one
installation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast, get_args, get_origin

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
    """``value`` as plain values with the fields' own names, for JSON, without what has its default value.

    Most keys of most models have it: with thousands of routes, this decides how long the start takes.
    """
    packed = {}
    for field in fields(type(value)).values():
        item = getattr(value, field.name)
        if item is not field.default and item != field.default:
            packed[field.name] = _packed(item)
    return packed


def _packed(value: Any) -> Any:
    if isinstance(value, Model):
        return pack(value)
    if isinstance(value, tuple):
        return [_packed(item) for item in value]
    if isinstance(value, dict):
        return {key: _packed(item) for key, item in value.items()}
    return value


def unpack(model: type[M], data: dict[str, Any]) -> M:
    """The model that was given to ``pack``."""
    readers = _readers(cast(Any, model))  # mypy mistakes the __hash__ of instances for the class's own
    return model(**{name: value if value is None else readers[name](value) for name, value in data.items()})


@functools.cache
def _readers(model: Any) -> dict[str, Callable[[Any], Any]]:
    """By field, the function that turns a packed value into what the field holds."""
    return {field.name: _reader(bare(field.annotation)) for field in fields(model).values()}


def _reader(kind: Any) -> Callable[[Any], Any]:
    if is_model(kind):
        return functools.partial(unpack, kind)
    if get_origin(kind) is tuple:
        item = _reader(bare(get_args(kind)[0]))
        return lambda value: tuple(map(item, value))
    if get_origin(kind) is dict:
        entry = _reader(bare(get_args(kind)[1]))
        return lambda value: {key: entry(each) for key, each in value.items()}
    return lambda value: value
