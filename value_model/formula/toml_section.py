"""Reads a table of a policy file field by field, collecting findings where it can go on."""

from __future__ import annotations

import math
from typing import Any

from marketplace.finding import Finding
from marketplace.toml_text import KeyPath, TomlText, label


class TomlSection:
    """The text, and the findings on it so far."""

    def __init__(self, text: TomlText) -> None:
        self.content, self.where = text.content, text.where
        self.findings: list[Finding] = []

    def complain(self, path: KeyPath, reason: str, fix: str) -> None:
        self.findings.append(Finding("fields", self.where(*path), reason, fix))

    def fields(self, path: KeyPath, fields: Any, allowed: set[str] | None, example: str) -> dict[str, Any]:
        if not isinstance(fields, dict):
            self.complain(path, f"{label(path)} is {fields!r:.40}.", f"Make it a table with {example}.")
            return {}
        for key in fields.keys() - (fields if allowed is None else allowed):
            self.complain((*path, key), f"unknown field {key!r}.", f"Use one of {', '.join(sorted(allowed or ()))}.")
        return fields

    def number(self, path: KeyPath, fields: dict[str, Any], key: str, *, default: float | None = None) -> float:
        value = fields.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            got = "is missing" if key not in fields else f"is {value!r:.40}"
            self.complain((*path, key), f"{label((*path, key))} {got}.", f"Write {key} = a finite number.")
            return default or 0.0
        return float(value)
