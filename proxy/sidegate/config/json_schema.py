"""The JSON Schema for editors: pydantic's schema, with the short forms and variables that pydantic does not know."""

from __future__ import annotations

from typing import Any

from sidegate.config.listeners import ListenerConfig
from sidegate.config.model import Model
from sidegate.config.pool import MAX_WORKERS
from sidegate.config.quantities import DURATION_SCHEMA, SIZE_SCHEMA, format_duration, format_size
from sidegate.config.routes import RouteConfig
from sidegate.config.schema import Config
from sidegate.config.validation import adapter

Schema = dict[str, Any]

_VARIABLE: Schema = {"$ref": "#/$defs/Variable"}
_VARIABLE_FORM: Schema = {"type": "string", "pattern": r"\$\{", "description": "Holds a variable: ${NAME:-default}"}


def models_schema() -> Schema:
    """The long forms as pydantic describes them, with defaults as they are written in a file."""
    schema = adapter(Config).json_schema()
    for part in (schema, *schema["$defs"].values()):
        for form in part["properties"].values():
            _write_as_in_files(form)
    return schema


def is_duration(schema: Schema) -> bool:
    """Whether ``schema`` describes a duration."""
    return bool(schema.get("examples") == DURATION_SCHEMA["examples"])


def is_size(schema: Schema) -> bool:
    """Whether ``schema`` describes a size."""
    return bool(schema.get("examples") == SIZE_SCHEMA["examples"])


def _write_as_in_files(form: Schema) -> None:
    """Put a default into its written form. Defaults of whole models are removed: their own fields have them."""
    form.pop("title", None)  # it repeats the key, in title case
    default = form.pop("default", None)
    if default is None or "$ref" in form or "$ref" in form.get("items", {}) or default == {}:
        return
    if is_duration(form):
        default = format_duration(default)
    elif is_size(form):
        default = format_size(default)
    form["default"] = default


def json_schema() -> Schema:
    """JSON Schema (draft 2020-12) that accepts everything that ``load`` accepts; ``load`` refuses more."""
    schema = models_schema()
    for model in (ListenerConfig, RouteConfig):
        _add_short_forms(schema["$defs"][model.__name__], model)
    _also(schema["$defs"]["Match"]["properties"], "path", {"type": "string"})
    for key in ("h2c", "h2"):
        _also(schema["$defs"]["BackendConfig"]["properties"], key, {"type": "string"})
    count = {"type": "integer", "minimum": 1, "maximum": MAX_WORKERS}
    _also(schema["$defs"]["PoolConfig"]["properties"], "workers", count, {"const": "auto"})
    _also(schema["$defs"]["WebSocketConfig"]["properties"], "compression", {"enum": ["deflate", "off"]})
    _also(schema["properties"], "admin", {"const": False})
    for part in (schema, *schema["$defs"].values()):
        part["properties"] = {key: _with_variables(value) for key, value in part["properties"].items()}
    schema["$defs"]["Variable"] = _VARIABLE_FORM
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Sidegate configuration"}


def _add_short_forms(schema: Schema, model: type[Model]) -> None:
    for short, (long, *_) in model.short_forms.items():
        schema["properties"][short] = {"type": "string", "description": f"Short form of `{long}`."}
        if long in schema["required"]:
            schema["required"].remove(long)
            choice: Schema = {"oneOf": [{"required": [short]}, {"required": [long]}]}
        else:
            choice = {"not": {"required": [short, long]}}
        schema.setdefault("allOf", []).append(choice)


def _also(properties: Schema, key: str, *forms: Schema) -> None:
    """Let any of ``forms`` replace ``key`` as well; the description stays outside, where editors look for it."""
    outside = {word: properties[key][word] for word in ("description", "default") if word in properties[key]}
    inside = {word: value for word, value in properties[key].items() if word not in outside}
    properties[key] = {"anyOf": [inside, *forms], **outside}


def _with_variables(schema: Schema) -> Schema:
    """``schema``, with ``${VARIABLE}`` allowed for every scalar that does not accept any text already."""
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            return {**schema, word: _with_variables(schema[word])}
    outside = {word: value for word, value in schema.items() if word in ("description", "default", "examples")}
    inside = {word: value for word, value in schema.items() if word not in outside}
    forms = inside.get("anyOf", [inside])
    if any(_any_text(form) for form in forms) or not any(_scalar(form) for form in forms):
        return schema
    return {"anyOf": [*forms, _VARIABLE], **outside}


def _scalar(form: Schema) -> bool:
    return bool({"enum", "const"} & form.keys() or form.get("type") in ("integer", "number", "boolean", "string"))


def _any_text(form: Schema) -> bool:
    return form.get("type") == "string" and not {"enum", "const", "pattern"} & form.keys()
