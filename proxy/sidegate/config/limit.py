"""What a limit declares besides its type: the value for workers, and whether listeners may set it.

Each field of ``Limits`` and ``ConnectionTimeouts`` has a ``Limit`` among its annotations. ``for_listener`` makes the
listener's model from it, ``worker_values`` the values of a worker. A field without one is an error at import.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, get_type_hints

from sidegate.config.model import Model, model

T = TypeVar("T")
P = TypeVar("P", bound=Model)

Hop = Callable[[Any, Sequence[Any]], Any]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """``hop``: the value in a worker, whose fronts have already enforced the limits for every client.

    It is a function of the value at the top level and of the ``ConnectionLimits`` of all listeners. ``top_level_only``:
    a listener cannot set this limit.
    """

    hop: Hop
    top_level_only: bool = False


def kept(value: Any, _: Sequence[Any]) -> Any:
    """A worker has the value of the top level."""
    return value


def always(value: Any) -> Hop:
    """A worker has this value, which switches the limit off, whatever the fronts have."""
    return lambda _value, _listeners: value


def declared(cls: type[Model]) -> dict[str, Limit]:
    """The ``Limit`` of every field, by the field's name. Raises ``TypeError`` for a field without one."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: _limit(field.name, hints[field.name]) for field in _fields(cls)}


def _limit(name: str, hint: Any) -> Limit:
    found = [part for part in getattr(hint, "__metadata__", ()) if isinstance(part, Limit)]
    if len(found) != 1:
        raise TypeError(f"the field {name!r} needs one Limit among its annotations")
    return found[0]


def for_listener(top: type[Model]) -> Callable[[type[T]], type[T]]:
    """Decorator: make a subclass of ``Model`` the model of the keys of ``top`` that a listener may set.

    It has the fields that are not ``top_level_only``, all of them optional.
    """

    def make(cls: type[T]) -> type[T]:
        hints = get_type_hints(top, include_extras=True)
        limits = declared(top)
        own = [field for field in _fields(top) if not limits[field.name].top_level_only]
        cls.__annotations__ = {field.name: hints[field.name] | None for field in own}
        for field in own:
            setattr(cls, field.name, dataclasses.field(default=None, metadata=field.metadata))
        cls.top_level = top  # type: ignore[attr-defined]  # of Model
        return model(cls)

    return make


def worker_values(part: P, listeners: Sequence[Any]) -> P:
    """``part``, a ``Limits`` or ``ConnectionTimeouts``, with the values of a worker."""
    values = {name: limit.hop(getattr(part, name), listeners) for name, limit in declared(type(part)).items()}
    made: P = dataclasses.replace(part, **values)  # type: ignore[type-var]  # every model is a dataclass
    return made


def _fields(cls: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(cls)
