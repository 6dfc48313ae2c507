"""``config/REFERENCE.md``, generated from the models: ``python -m proxy.config.reference > config/REFERENCE.md``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from proxy.config.json_schema import Schema, is_duration, is_size, models_schema
from proxy.config.model import Model
from proxy.config.quantities import format_duration, format_size
from proxy.config.schema import Config
from proxy.config.structure import Field, fields, inner, is_model

_HEAD = """\
# Configuration reference

Generated from `proxy/config/` by `python -m proxy.config.reference > config/REFERENCE.md`; a test holds it current.
Examples are beside this file; `sidegate check FILE` tells every mistake in a file with its place, and
`sidegate schema` prints the JSON Schema for editors.

* **Unknown keys are errors**, and so are keys that stand twice. No value is converted from one type to another.
* **Durations** are those of the Kubernetes Gateway API: `30s`, `1m30s`, `500ms`, always with a unit.
* **Sizes** are bytes or powers of 1024: `1024`, `8Ki`, `16Mi`, `1Gi`.
* **Paths of files** start in the folder of the configuration file.
* **Variables**: `${NAME}` and `${NAME:-default}` in any value, the default also if the variable is empty; `$${` stands
  for the characters `${`. A value without quotes is read after the variables are put in, so that `processes: ${N}`
  is a number. Inside `{}` and `[]` YAML wants quotes around `${NAME}`, and what stands in quotes is text.
* **YAML 1.2**: `yes`, `no`, `on` and `off` are text, not booleans. Anchors, aliases and merge keys (`<<`) work.
"""


def reference() -> str:
    """The whole Markdown text."""
    return "\n".join(line.rstrip() for part in [_HEAD.splitlines(), _sections()] for line in part) + "\n"


def _sections() -> Iterator[str]:
    schema = models_schema()
    for model in _models(Config):
        part = schema if model is Config else schema["$defs"][model.__name__]
        title = "The file" if model is Config else model.__name__
        yield from ["", f"## {title}", "", model.__doc__ or "", ""]
        yield from ["| key | value | default | range | meaning |", "|---|---|---|---|---|"]
        for key, field in fields(model).items():
            yield _row(key, field, part["properties"][key], required=key in part.get("required", ()))
        for short, (long, *_) in model.short_forms.items():
            yield f"| `{short}` | text | | | Short form of `{long}`. |"


def _models(model: type[Model]) -> list[type[Model]]:
    """``model`` and those below it, each once, depth first."""
    found = [model]
    for field in fields(model).values():
        child = inner(field.annotation)
        if is_model(child):
            found += [one for one in _models(child) if one not in found]
    return found


def _row(key: str, field: Field, schema: Schema, required: bool) -> str:
    default = "**required**" if required else _default(schema.get("default"))
    cells = [f"`{key}`", _type(schema), default, _range(field, schema), field.metadata["description"]]
    return "| " + " | ".join(cells) + " |"


def _default(value: Any) -> str:
    if value is None or value in ([], ""):
        return ""
    return f"`{json.dumps(value) if isinstance(value, list | bool) else value}`"


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if is_duration(schema):
        return "duration"
    if is_size(schema):
        return "size"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "anyOf" in schema:
        return " or ".join(_type(form) for form in schema["anyOf"] if form.get("type") != "null")
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    if schema["type"] == "object":
        return f"mapping of name to {_type(schema['additionalProperties'])}"
    return {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true`, `false`"}[
        schema["type"]
    ]


def _range(field: Field, schema: Schema) -> str:
    bounds = [field.metadata[word] for word in ("ge", "le") if word in field.metadata]
    forms = [schema, *schema.get("anyOf", ())]  # of a value that may be left out, the form is inside
    if any(map(is_duration, forms)):
        return " to ".join(format_duration(bound) for bound in bounds)
    if any(map(is_size, forms)):
        return " to ".join(str(format_size(bound)) for bound in bounds)
    return " to ".join(str(bound) for bound in bounds)


if __name__ == "__main__":
    sys.stdout.write(reference())
