"""The structure of the models: which model is at a path, and which keys it has."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, TypeGuard, Union, cast, get_args, get_origin, get_type_hints

from sidegate.config.checks import Path
from sidegate.config.model import Model, camel
from sidegate.config.schema import Config


def bare(annotation: Any) -> Any:
    """``annotation`` without ``Annotated`` and without ``| None``."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return bare(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return bare(next(arg for arg in get_args(annotation) if arg is not types.NoneType))
    return annotation


def inner(annotation: Any) -> Any:
    """The type of a list's items or of a mapping's values, else the bare type itself."""
    annotation = bare(annotation)
    if get_origin(annotation) is tuple:
        return inner(get_args(annotation)[0])
    if get_origin(annotation) is dict:
        return inner(get_args(annotation)[1])
    return annotation


class Field(NamedTuple):
    """One field of a model: its name in Python, its type with all rules, ``MISSING`` or its default, the rest."""

    name: str
    annotation: Any
    default: Any
    metadata: Mapping[str, Any]


def fields(model: type[Model]) -> dict[str, Field]:
    """The model's fields by their keys in a file."""
    return _fields(cast(Any, model))  # mypy mistakes the __hash__ of instances for the class's own


@functools.cache
def _fields(model: Any) -> dict[str, Field]:
    hints = get_type_hints(model, include_extras=True)
    return {
        camel(field.name): Field(field.name, hints[field.name], _default(field), field.metadata)
        for field in dataclasses.fields(model)
    }


def _default(field: dataclasses.Field[Any]) -> Any:
    factory = field.default_factory
    return field.default if factory is dataclasses.MISSING else factory()


def is_model(annotation: Any) -> TypeGuard[type[Model]]:
    """Whether ``annotation`` is a model."""
    return isinstance(annotation, type) and issubclass(annotation, Model)


def model_at(path: Path) -> type[Model] | None:
    """The model whose keys are at ``path``; None if there is none."""
    here: Any = Config
    for part in path:
        here = bare(here)
        if isinstance(part, int) and get_origin(here) is tuple:
            here = get_args(here)[0]
        elif get_origin(here) is dict:
            here = get_args(here)[1]
        elif is_model(here) and part in fields(here):
            here = fields(here)[str(part)].annotation
        else:
            return None
    here = bare(here)
    return here if is_model(here) else None


def short_forms_at(path: Path) -> dict[str, tuple[str | int, ...]]:
    """The short forms that may be written at ``path``."""
    model = model_at(path)
    return model.short_forms if model else {}


def home_of(key: str, path: Path) -> str:
    """Where ``key``, which is unknown at ``path``, is known: one level further in or out, or in a model beside it.

    Empty if it is known at none of these.
    """
    if path and key in keys_at(path[:-1]):
        return f"beside {path[-1]!r}"
    return _model_with(key, path) or (_model_with(key, path[:-1]) if path else "")


def _model_with(key: str, path: Path) -> str:
    """The first of the models directly below ``path`` that has ``key``."""
    here = model_at(path)
    for name, field in fields(here).items() if here else ():
        inside = bare(field.annotation)
        if is_model(inside) and key in fields(inside):
            return f"in {name!r}"
    return ""


def top_level_keys(path: Path) -> set[str]:
    """The keys of the top level that the same model of the listener at ``path`` does not have."""
    here = model_at(path)
    return fields(here.top_level).keys() - fields(here).keys() if here and here.top_level else set()


def keys_at(path: Path) -> list[str]:
    """Every key that may be written at ``path``, short forms first."""
    model = model_at(path)
    return [*model.short_forms, *fields(model)] if model else []
