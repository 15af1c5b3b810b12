"""A recipe as a file for people: every setting with its meaning and its possible values.

Everything is taken from the fields of the settings, so the file cannot differ from the code.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from dimstream_models.training.settings.recipe import Recipe

_WIDTH = 100
_HEADER = (
    "Settings of `dimstream-train`. Unknown keys are refused; a key that is left out has its default."
    " Relative paths are relative to this file."
)
_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
    "multipleOf": "a multiple of",
    "pattern": "like",
}
_TYPES = {
    "null": "null",
    "boolean": "true or false",
    "integer": "whole number",
    "number": "number",
    "string": "text",
}

Schema = Mapping[str, Any]


def commented(recipe: Recipe) -> str:
    """Return the recipe as YAML for `read_recipe`, with a comment above each key.

    Parts of the recipe that are null are left out.
    """
    schema = Recipe.model_json_schema()
    lines = [*_comment(_HEADER, ""), ""]
    lines += _keys(recipe.model_dump(mode="json"), schema, schema["$defs"], "")
    return "\n".join(lines) + "\n"


def _keys(values: Mapping[str, Any], schema: Schema, models: Schema, indent: str) -> Iterator[str]:
    for name, value in values.items():
        field = schema["properties"][name]
        model = _model(field, models)
        if model is None:
            yield from _comment(f"{field.get('description', '')} [{_range(field)}]".strip(), indent)
            yield f"{indent}{name}: {_inline(value)}"
        elif value is not None:
            if not indent:
                yield ""
            yield from _comment(model["description"].splitlines()[0], indent)
            yield f"{indent}{name}:"
            yield from _keys(value, model, models, indent + "  ")


def _model(field: Schema, models: Schema) -> Schema | None:
    """Return the schema of the settings in a field; None if the field holds a value."""
    for option in (field, *field.get("anyOf", ()), *field.get("allOf", ())):
        if "$ref" in option:
            return dict(models[option["$ref"].rpartition("/")[2]])
    return None


def _range(field: Schema) -> str:
    """Return a description of a field's possible values."""
    if "anyOf" in field:
        return " or ".join(_range(option) for option in field["anyOf"])
    if "const" in field:
        return str(field["const"])
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    if "prefixItems" in field:
        return "list: " + "; ".join(_range(item) for item in field["prefixItems"])
    if field["type"] == "array":
        return f"list, each {_range(field['items'])}"
    bounds = [f"{words} {field[name]}" for name, words in _BOUNDS.items() if name in field]
    return ", ".join([_TYPES[field["type"]], *bounds])


def _comment(text: str, indent: str) -> list[str]:
    return [f"{indent}# {line}" for line in textwrap.wrap(text, _WIDTH - len(indent))]


def _inline(value: Any) -> str:
    """Return a value as YAML on one line."""
    return yaml.safe_dump([value], default_flow_style=True, width=float("inf")).strip()[1:-1]
