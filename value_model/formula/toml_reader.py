"""Reads a value policy from TOML; every mistake is named with its file, its line and what to write instead."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from marketplace.finding import DataError, Finding
from marketplace.toml_text import KeyPath, TomlText, label, parse_toml
from value_model.formula.parser import parse
from value_model.formula.policy_error import PolicyError
from value_model.formula.quantities import Quantity, Sign
from value_model.formula.toml_constraints import read_constraints
from value_model.formula.toml_slate import read_slate
from value_model.formula.validation import problems
from value_model.formula.value_policy import Expression, Override, ValuePolicy, Weight

_TOP = {
    "name",
    "owner",
    "reason",
    "currency",
    "unit",
    "result",
    "prior",
    "expressions",
    "weights",
    "quantities",
    "slate",
    "constraints",
}
_WEIGHT = {
    "value",
    "unit",
    "low",
    "high",
    "owner",
    "reason",
    "sign",
    "term",
    "neutral",
    "surface",
    "segment",
}
_QUANTITY = {"unit", "low", "high", "sign", "meaning", "head", "missing"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def load_policy(path: Path | str) -> ValuePolicy:
    """The checked policy of a TOML file; raises PolicyError with every finding, OSError where it cannot be read."""
    return parse_policy(Path(path).read_bytes(), file=str(path))


def parse_policy(content: bytes | str, *, file: str = "policy.toml") -> ValuePolicy:
    """The checked policy of a TOML text; raises PolicyError with every finding."""
    try:
        policy = Reader(parse_toml(content, file=file)).policy()
    except DataError as error:
        raise PolicyError(error.findings) from error
    findings = problems(policy)
    if findings:
        raise PolicyError(findings)
    return policy


class Reader:
    """Builds the policy, collecting findings where it can go on."""

    def __init__(self, text: TomlText) -> None:
        self.content, self.where = text.content, text.where
        self.findings: list[Finding] = []

    def complain(self, path: KeyPath, reason: str, fix: str, *, rule: str = "fields") -> None:
        self.findings.append(Finding(rule, self.where(*path), reason, fix))

    def policy(self) -> ValuePolicy:
        self.known((), self.content, _TOP)
        content, top = self.content, ()
        policy = ValuePolicy(
            name=self.text(top, content, "name"),
            owner=self.text(top, content, "owner"),
            reason=self.text(top, content, "reason"),
            currency=self.currency(),
            unit=self.text(top, content, "unit"),
            result=self.text(top, content, "result", default="value"),
            prior=self.number(top, content, "prior", default=10_000.0),
            expressions=tuple(self.expression(name, source) for name, source in self.table("expressions").items()),
            weights=tuple(self.weight(name, fields) for name, fields in self.table("weights").items()),
            quantities=tuple(self.quantity(name, fields) for name, fields in self.table("quantities").items()),
            slate=read_slate(self, self.content["slate"]) if "slate" in self.content else None,
            constraints=read_constraints(self, self.content.get("constraints", [])),
            where=self.where(),
        )
        if self.findings:
            raise PolicyError(self.findings)
        return policy

    def table(self, name: str) -> dict[str, Any]:
        table = self.content.get(name, {})
        if not isinstance(table, dict):
            self.complain((name,), f"{name} is {table!r:.40}.", f"Make it a table: [{name}].")
            return {}
        for key in table:
            if not _NAME.fullmatch(key):
                self.complain((name, key), f"{key!r} cannot be used in a formula.", "Use letters, digits and _.")
        return table

    def known(self, path: KeyPath, fields: dict[str, Any], allowed: set[str]) -> None:
        for key in fields.keys() - allowed:
            self.complain((*path, key), f"unknown field {key!r}.", f"Use one of {', '.join(sorted(allowed))}.")

    def text(self, path: KeyPath, fields: dict[str, Any], key: str, *, default: str | None = None) -> str:
        value = fields.get(key, default)
        if not isinstance(value, str) or not value.strip():
            got = "is missing" if key not in fields else f"is {value!r:.40}"
            self.complain((*path, key), f"{label((*path, key))} {got}.", f'Write {key} = "..." (a text).')
            return default or "?"
        return value

    def number(self, path: KeyPath, fields: dict[str, Any], key: str, *, default: float | None = None) -> float:
        value = fields.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(_float(value)):
            got = "is missing" if key not in fields else f"is {value!r:.40}"
            self.complain((*path, key), f"{label((*path, key))} {got}.", f"Write {key} = a finite number.")
            return default or 0.0
        return float(value)

    def flag(self, path: KeyPath, fields: dict[str, Any], key: str, *, default: bool) -> bool:
        value = fields.get(key, default)
        if not isinstance(value, bool):
            self.complain((*path, key), f"{label((*path, key))} is {value!r:.40}.", f"Write {key} = true or false.")
            return default
        return value

    def sign(self, path: KeyPath, fields: dict[str, Any]) -> Sign:
        value = fields.get("sign", "any")
        if value not in ("+", "-", "any"):
            self.complain((*path, "sign"), f"sign is {value!r:.40}.", 'Write sign = "+", "-" or "any".')
            return Sign.ANY
        return Sign(value)

    def currency(self) -> str:
        value = self.text((), self.content, "currency")
        if not re.fullmatch("[A-Z]{3}", value):
            self.complain(("currency",), f"currency is {value!r:.40}.", 'Write an ISO 4217 code such as "SAR".')
            return "XXX"
        return value

    def expression(self, name: str, source: Any) -> Expression:
        where = self.where("expressions", name)
        if not isinstance(source, str):
            self.complain(("expressions", name), f"{name} is {source!r:.40}.", f'Write {name} = "formula".')
            source = "0"
        try:
            tree = parse(source, where=where)
        except PolicyError as error:
            self.findings.extend(error.findings)
            tree = parse("0", where=where)
        return Expression(name, source, tree, where)

    def weight(self, name: str, fields: Any) -> Weight:
        path = ("weights", name)
        fields = self.fields(path, fields, _WEIGHT, 'value = 0.1, unit = "SAR / click", low, high, owner, reason')
        return Weight(
            name=name,
            value=self.number(path, fields, "value"),
            unit=self.text(path, fields, "unit"),
            low=self.number(path, fields, "low"),
            high=self.number(path, fields, "high"),
            owner=self.text(path, fields, "owner", default=self.content.get("owner")),
            reason=self.text(path, fields, "reason"),
            sign=self.sign(path, fields),
            term=self.flag(path, fields, "term", default=True),
            neutral=self.number(path, fields, "neutral", default=0.0),
            surface=self.overrides(path, fields, "surface"),
            segment=self.overrides(path, fields, "segment"),
            where=self.where(*path, "value"),
        )

    def overrides(self, path: KeyPath, fields: dict[str, Any], key: str) -> tuple[Override, ...]:
        table = self.fields((*path, key), fields.get(key, {}), None, "home = 0.2")
        found = []
        for name, entry in table.items():
            at = (*path, key, name)
            if isinstance(entry, dict):
                self.known(at, entry, {"value", "evidence"})
                evidence = self.number(at, entry, "evidence") if "evidence" in entry else None
                found.append(Override(name, self.number(at, entry, "value"), evidence))
            else:
                found.append(Override(name, self.number((*path, key), table, name)))
        return tuple(sorted(found, key=lambda override: override.key))

    def quantity(self, name: str, fields: Any) -> Quantity:
        path = ("quantities", name)
        fields = self.fields(path, fields, _QUANTITY, 'unit = "1", low = 0, high = 1')
        return Quantity(
            name=name,
            unit=self.text(path, fields, "unit"),
            low=self.number(path, fields, "low"),
            high=self.number(path, fields, "high"),
            sign=self.sign(path, fields),
            meaning=self.text(path, fields, "meaning") if "meaning" in fields else "",
            head=self.flag(path, fields, "head", default=False),
            missing=self.number(path, fields, "missing") if "missing" in fields else None,
            where=self.where(*path),
        )

    def fields(self, path: KeyPath, fields: Any, allowed: set[str] | None, example: str) -> dict[str, Any]:
        if not isinstance(fields, dict):
            self.complain(path, f"{label(path)} is {fields!r:.40}.", f"Make it a table with {example}.")
            return {}
        if allowed is not None:
            self.known(path, fields, allowed)
        return fields


def _float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
