"""Validation of plain values by pydantic. Only processes that validate import it; fronts get validated values.

It raises pydantic's ``ValidationError``, which has every mistake; ``messages.py`` turns it into sentences.
"""

from __future__ import annotations

import functools
import json
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

from sidegate.config.model import Model

M = TypeVar("M", bound=Model)


def validate(model: type[M], value: Any) -> M:
    """Validate values from Python: keys in snake_case too, plain numbers for durations and modes."""
    return adapter(model).validate_python(value)


def validate_file(model: type[M], value: Any, folder: str) -> M:
    """Validate values from a file in ``folder``, where its relative paths start."""
    # JSON mode means "from a file" in the models: there, a number without a unit is no duration.
    context = {"folder": folder}
    return adapter(model).validate_json(json.dumps(value), by_alias=True, by_name=False, context=context)


def adapter(model: type[M]) -> TypeAdapter[M]:
    """The pydantic adapter for ``model``."""
    return _adapter(cast(Any, model))  # mypy mistakes the __hash__ of instances for the class's own


@functools.cache
def _adapter(model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(model)
