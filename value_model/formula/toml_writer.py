"""Writes a value policy as the TOML that `load_policy` reads back to an equal policy."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from marketplace.schema import RELEVANCE
from value_model.formula.constraint import Constraint
from value_model.formula.quantities import Quantity
from value_model.formula.value_policy import Override, ValuePolicy, Weight
from value_model.slate_policies.slate_section import SlateSection


def to_toml(policy: ValuePolicy) -> str:
    """The policy as TOML text."""
    return "\n".join(_lines(policy)) + "\n"


def _lines(policy: ValuePolicy) -> Iterator[str]:
    for key in ("name", "owner", "reason", "currency", "unit", "result"):
        yield f"{key} = {_text(getattr(policy, key))}"
    yield f"prior = {_number(policy.prior)}"
    yield "\n[expressions]"
    for expression in policy.expressions:
        yield f"{expression.name} = {_text(expression.source)}"
    for quantity in policy.quantities:
        yield from _quantity(quantity)
    for weight in policy.weights:
        yield from _weight(weight)
    if policy.slate is not None:
        yield from _slate(policy.slate)
    for constraint in policy.constraints:
        yield from _constraint(constraint)


def _weight(weight: Weight) -> Iterator[str]:
    yield f"\n[weights.{weight.name}]"
    yield f"value = {_number(weight.value)}"
    yield f"unit = {_text(weight.unit)}"
    yield f"low = {_number(weight.low)}"
    yield f"high = {_number(weight.high)}"
    yield f"sign = {_text(weight.sign)}"
    yield f"owner = {_text(weight.owner)}"
    yield f"reason = {_text(weight.reason)}"
    if not weight.term:
        yield "term = false"
    if weight.neutral:
        yield f"neutral = {_number(weight.neutral)}"
    for kind, overrides in (("surface", weight.surface), ("segment", weight.segment)):
        if overrides:
            yield f"{kind} = {{ {', '.join(map(_override, overrides))} }}"


def _override(override: Override) -> str:
    value = _number(override.value)
    if override.evidence is not None:
        value = f"{{ value = {value}, evidence = {_number(override.evidence)} }}"
    return f"{_text(override.key)} = {value}"


def _quantity(quantity: Quantity) -> Iterator[str]:
    yield f"\n[quantities.{quantity.name}]"
    yield f"unit = {_text(quantity.unit)}"
    yield f"low = {_number(quantity.low)}"
    yield f"high = {_number(quantity.high)}"
    yield f"sign = {_text(quantity.sign)}"
    if quantity.meaning:
        yield f"meaning = {_text(quantity.meaning)}"
    if quantity.head:
        yield "head = true"
    if quantity.missing is not None:
        yield f"missing = {_number(quantity.missing)}"


def _constraint(constraint: Constraint) -> Iterator[str]:
    yield "\n[[constraints]]"
    yield f"metric = {_text(constraint.metric)}"
    yield f"{constraint.side} = {_number(constraint.bound)}"
    yield f"of = {_text(constraint.of)}"
    yield f"confidence = {_number(constraint.confidence)}"
    yield f"owner = {_text(constraint.owner)}"
    yield f"reason = {_text(constraint.reason)}"


def _slate(section: SlateSection) -> Iterator[str]:
    entries = section.to_toml()
    relevance = entries.pop(RELEVANCE, {})
    if entries or not relevance:
        yield "\n[slate]"
    for key, entry in entries.items():
        yield f"{key} = {_entry(entry)}"
    if relevance:
        yield f"\n[slate.{RELEVANCE}]"
    for key, entry in relevance.items():
        yield f"{key} = {_entry(entry)}"


def _entry(entry: Any) -> str:
    """A whole number, number, text, list or inline table."""
    match entry:
        case dict():
            return f"{{ {', '.join(f'{_key(key)} = {_entry(part)}' for key, part in entry.items())} }}"
        case list():
            return f"[{', '.join(map(_entry, entry))}]"
        case str():
            return _text(entry)
        case int():
            return str(entry)
    return _number(entry)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _text(key)


def _text(text: str) -> str:
    """A TOML basic string: JSON's escapes, and DEL, which JSON leaves alone."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _number(value: float) -> str:
    return repr(float(value))
