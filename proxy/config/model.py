"""The base of every configuration model."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Strict, model_validator
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """camelCase keys, frozen, unknown keys are errors; scalars are never converted from one type to another."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        allow_inf_nan=False,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
    )

    short_forms: ClassVar[dict[str, tuple[str | int, ...]]] = {}
    """Short key to the place of its value in the long form: ``path`` to ``matches``, 0, ``path``."""

    @model_validator(mode="before")
    @classmethod
    def _expand_short_forms(cls, data: Any) -> Any:
        """Replace short forms. One that stands beside its long form stays, and is refused as an unknown key."""
        if not cls.short_forms or not isinstance(data, dict):
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
