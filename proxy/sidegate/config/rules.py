"""Rules of single values for ``Annotated``: pydantic applies them, but declaring them does not import pydantic.

Each rule creates its pydantic schema when pydantic asks for it (``__get_pydantic_core_schema__``), which happens only
during validation. A rule's function may take pydantic's ``ValidationInfo`` as its second argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema


@dataclass(frozen=True, slots=True, eq=False)
class Strict:
    """Exactly this type: text is not converted to a number, nor a number to a boolean."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema: Any = handler(source)  # of a scalar; the schema of each scalar has the key
        return {**schema, "strict": True}


@dataclass(frozen=True, slots=True, eq=False)
class After:
    """``check`` gets the value after the check of its type, and returns it normalised."""

    check: Callable[..., Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic import AfterValidator  # noqa: PLC0415 - see the top of the file

        return AfterValidator(self.check).__get_pydantic_core_schema__(source, handler)


@dataclass(frozen=True, slots=True, eq=False)
class Before:
    """``read`` converts what was written to the value, before the check of its type.

    ``json_schema`` is what an editor accepts instead of that type. ``write`` returns the written form of a value that
    JSON and YAML would show differently.
    """

    read: Callable[..., Any]
    json_schema: dict[str, Any] | None = None
    write: Callable[[Any], Any] | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic import BeforeValidator  # noqa: PLC0415 - see the top of the file

        return BeforeValidator(self.read).__get_pydantic_core_schema__(source, handler)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(handler(schema)) if self.json_schema is None else dict(self.json_schema)
