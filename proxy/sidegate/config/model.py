"""The base of every model of the configuration, and the declaration of models.

A model is a frozen dataclass, so a process that gets valid values needs no pydantic (some 14 MiB). The declaration
still has what pydantic needs to validate a file: types with ``rules``, bounds and descriptions in the fields' metadata
under the names of pydantic's ``Field``, and comparisons of a model's own fields in ``__post_init__``.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar, dataclass_transform

from sidegate.config.rules import Strict

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

T = TypeVar("T")


def setting(*, description: str, **more: Any) -> Any:
    """Declare one field. ``more``: ``default`` or ``default_factory``; ``ge``, ``le``, ``min_length``."""
    defaults = {word: more.pop(word) for word in ("default", "default_factory") if word in more}
    return dataclasses.field(**defaults, metadata={"description": description, **more})


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(setting,))
def model(cls: type[T]) -> type[T]:
    """Make a subclass of ``Model`` a model."""
    return dataclasses.dataclass(frozen=True, kw_only=True)(cls)


def camel(name: str) -> str:
    """The key of the field ``name`` in a file: ``request_line`` is ``requestLine``."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class Model:
    """camelCase keys, frozen, unknown keys are errors; scalars are never converted from one type to another.

    The constructor does not check the types and bounds of its values; ``validation.validate`` does.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "alias_generator": camel,
        "allow_inf_nan": False,
        "extra": "forbid",
        "populate_by_name": True,
    }

    short_forms: ClassVar[dict[str, tuple[str | int, ...]]] = {}
    """Short key to the position of its value in the long form: ``path`` to ``matches``, 0, ``path``."""

    top_level: ClassVar[type[Model] | None] = None
    """In a model whose keys a listener may set: the model of the same keys at the top level of the file."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The pydantic schema of the dataclass, preceded by the expansion of short forms."""
        from pydantic_core import core_schema  # noqa: PLC0415 - see the top of the file

        schema = handler(source)
        if not cls.short_forms:
            return schema
        return core_schema.no_info_before_validator_function(cls._expand_short_forms, schema)

    @classmethod
    def _expand_short_forms(cls, data: Any) -> Any:
        """Replace short forms. A short form beside its long form stays and is refused as an unknown key."""
        if not isinstance(data, dict):
            return data
        result = dict(data)
        for short, (key, *rest) in cls.short_forms.items():
            if short in result and key not in result:
                result[str(key)] = _expanded(tuple(rest), result.pop(short))
        return result


# Strict by scalar, not by model: a strict model would also refuse a list for a tuple.
Integer = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Boolean = Annotated[bool, Strict()]


def _expanded(path: tuple[str | int, ...], value: Any) -> Any:
    for part in reversed(path):
        value = [value] if isinstance(part, int) else {part: value}
    return value
