"""The OpenAPI document as a page that opens in any browser, offline: routes, fields, refusals and examples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import evaluation

if TYPE_CHECKING:
    from jinja2 import Template

STYLE = Path(evaluation.__file__).parent  # style.css.jinja


def page(document: Mapping[str, Any]) -> str:
    """HTML without scripts or anything from elsewhere."""
    return _template().render(document=document, type_name=type_name, example=example)


def type_name(schema: Mapping[str, Any]) -> str:
    """A schema in words: its type, that of its entries, its words or the model that it refers to."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(type_name(one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(map(str, schema.get("enum") or [schema["const"]]))
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {type_name(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"map to {type_name(schema['additionalProperties'])}"
    return " or ".join(kind) if isinstance(kind, list) else str(schema.get("format", kind))


def example(document: Mapping[str, Any], path: str, method: str) -> str:
    """A call of the route with curl."""
    call = f"curl -s localhost:8080{path}" + ("" if method == "get" else f" -X {method.upper()}")
    body = document["paths"][path][method].get("requestBody")
    if body is None:
        return call
    model = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    content = json.dumps(document["components"]["schemas"][model]["examples"][0], ensure_ascii=False)
    return f"{call} -H 'Content-Type: application/json' \\\n     -d '{content}'"


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader

    loader = FileSystemLoader([Path(__file__).parent, STYLE])
    return Environment(loader=loader, autoescape=True).get_template("openapi.html.jinja")
