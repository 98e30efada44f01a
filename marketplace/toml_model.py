"""A TOML text as a pydantic model or a dataclass; every mistake is a finding with its line and what to write instead.

What may be written is read off the model's JSON schema; a field's own words are its `Fix`. A class that checks itself
raises `FieldError`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from marketplace.finding import DataError, FieldError, Finding, nearest
from marketplace.toml_text import KeyPath, TomlText

T = TypeVar("T")
JsonSchema = Mapping[str, Any]
_KEY = "[key]"  # pydantic's mark of an error in the key of a mapping


@dataclass(frozen=True)
class Fix:
    """Annotation of a field: what to write where its value is refused."""

    text: str

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(core_schema), "fix": self.text}


CurrencyCode = Annotated[str, Field(pattern="^[A-Z]{3}$"), Fix('Write an ISO 4217 code such as "SAR".')]


def as_model(text: TomlText, model: type[T]) -> T:
    """The `model` that the text describes, types taken strictly; raises DataError with every finding."""
    adapter, schema = _adapter(model)  # type: ignore[arg-type]
    findings = list(_unknown_fields(text, (), text.content, schema, schema))
    try:
        value = adapter.validate_json(json.dumps(text.content, default=str), strict=True)
    except ValidationError as error:
        findings += [_finding(text, problem, schema) for problem in error.errors(include_url=False)]
    if findings:
        raise DataError(dict.fromkeys(findings))
    return value


@cache
def _adapter(model: type[T]) -> tuple[TypeAdapter[T], JsonSchema]:
    """What reads a model, and its schema."""
    adapter = TypeAdapter(model)
    return adapter, adapter.json_schema()


def _unknown_fields(text: TomlText, path: KeyPath, value: Any, node: JsonSchema, root: JsonSchema) -> Iterator[Finding]:
    """Fields that a table has and its class has not: classes outside pydantic would ignore them."""
    if isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _unknown_fields(text, (*path, index), entry, _child(node, index, root), root)
    elif isinstance(value, dict):
        fields = _resolved(node, root).get("properties")
        for key, entry in value.items():
            if fields is not None and key not in fields:
                where, fix = text.where(*path, key), nearest(key, sorted(fields))
                yield Finding("fields", where, f"unknown field {key!r}.", fix)
            else:
                yield from _unknown_fields(text, (*path, key), entry, _child(node, key, root), root)


def _finding(text: TomlText, problem: Any, schema: JsonSchema) -> Finding:
    path, kind, cause = problem["loc"], problem["type"], problem.get("ctx", {}).get("error")
    path = path[:-1] if path[-1:] == (_KEY,) else path
    path = path if kind == "missing" else _written(text, path)
    if isinstance(cause, FieldError):
        return text.finding(path, cause.reason, cause.fix, key=cause.key)
    reason = "is missing" if kind == "missing" else f"is {problem['input']!r:.40}"
    return text.finding(path, reason, _fix(_at(schema, path), key=str(path[-1]) if path else ""))


def _written(text: TomlText, path: KeyPath) -> KeyPath:
    """The part of `path` that the text has: behind it pydantic names the alternatives of a type."""
    value: Any = text.content
    for depth, key in enumerate(path):
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return path[:depth]
    return path


def _at(schema: JsonSchema, path: KeyPath) -> JsonSchema:
    node = _resolved(schema, schema)
    for key in path:
        node = _child(node, key, schema)
    return node


def _child(node: JsonSchema, key: str | int, root: JsonSchema) -> JsonSchema:
    node = _resolved(node, root)
    inner = node.get("items") if isinstance(key, int) else node.get("properties", {}).get(key)
    if inner is None:
        inner = node.get("additionalProperties")
    return _resolved(inner, root) if isinstance(inner, Mapping) else {}


def _resolved(node: JsonSchema, root: JsonSchema) -> JsonSchema:
    """The node without references and without null as its alternative."""
    while True:
        if "$ref" in node:
            node = {**root["$defs"][node["$ref"].rpartition("/")[2]], **{k: v for k, v in node.items() if k == "fix"}}
        elif len(real := [option for option in node.get("anyOf", ()) if option.get("type") != "null"]) == 1:
            node = {**real[0], **{k: v for k, v in node.items() if k == "fix"}}
        else:
            return node


def _fix(node: JsonSchema, *, key: str) -> str:
    if "fix" in node:
        return node["fix"]
    if "enum" in node:
        return f"Write one of {', '.join(map(str, node['enum']))}."
    least, above = node.get("minimum"), node.get("exclusiveMinimum")
    bound = f", {least:g} or more" if least is not None else f" above {above:g}" if above is not None else ""
    match node.get("type"):
        case "object":
            fields = ", ".join(node.get("required") or node.get("properties", ())) or "one key a line"
            return f"Make it a table with {fields}."
        case "array":
            return f"Write {key} = [...] (a list)."
        case "integer":
            return f"Write a whole number{bound}."
        case "number":
            return f"Write {key} = a finite number{bound}."
        case "boolean":
            return f"Write {key} = true or false."
    return f'Write {key} = "..." (a text).'
