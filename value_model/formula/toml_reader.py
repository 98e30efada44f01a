"""Reads a value policy from TOML; every mistake is named with its file, its line and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marketplace.finding import DataError, Finding
from marketplace.toml_text import TomlText, parse_toml, toml_tables
from value_model.formula.constraint import Constraint
from value_model.formula.parser import parse
from value_model.formula.policy_error import PolicyError
from value_model.formula.quantities import Quantity
from value_model.formula.validation import problems
from value_model.formula.value_policy import Expression, Override, ValuePolicy, Weight

if TYPE_CHECKING:
    from value_model.formula.policy_file import OverrideTable, PolicyFile


def load_policy(path: Path | str) -> ValuePolicy:
    """The checked policy of a TOML file; raises PolicyError with every finding, OSError where it cannot be read."""
    return parse_policy(Path(path).read_bytes(), file=str(path))


def parse_policy(content: bytes | str | dict[str, Any], *, file: str = "policy.toml") -> ValuePolicy:
    """The checked policy of a TOML text, or of its tables; raises PolicyError with every finding."""
    from marketplace.toml_model import as_model  # pydantic is imported where a file is read
    from value_model.formula.policy_file import PolicyFile

    try:
        text = toml_tables(content, file=file) if isinstance(content, dict) else parse_toml(content, file=file)
        policy = _policy(text, as_model(text, PolicyFile))
    except DataError as error:
        raise PolicyError(error.findings) from error
    findings = problems(policy)
    if findings:
        raise PolicyError(findings)
    return policy


def _policy(text: TomlText, file: PolicyFile) -> ValuePolicy:
    """The policy that the file describes, its formulas parsed; each part knows its line."""
    return ValuePolicy(
        name=file.name,
        owner=file.owner,
        reason=file.reason,
        currency=file.currency,
        unit=file.unit,
        result=file.result,
        prior=file.prior,
        expressions=_expressions(text, file.expressions),
        weights=_weights(text, file),
        quantities=tuple(
            Quantity(name, **dict(table), where=text.where("quantities", name))
            for name, table in file.quantities.items()
        ),
        slate=file.slate,
        constraints=_constraints(text, file),
        where=text.where(),
    )


def _expressions(text: TomlText, sources: Mapping[str, str]) -> tuple[Expression, ...]:
    expressions: list[Expression] = []
    findings: list[Finding] = []
    for name, source in sources.items():
        where = text.where("expressions", name)
        try:
            expressions.append(Expression(name, source, parse(source, where=where), where))
        except PolicyError as error:
            findings.extend(error.findings)
    if findings:
        raise DataError(findings)
    return tuple(expressions)


def _weights(text: TomlText, file: PolicyFile) -> tuple[Weight, ...]:
    def weight(name: str) -> Weight:
        table = file.weights[name]
        rest = {"surface": _overrides(table.surface), "segment": _overrides(table.segment)}
        fields = dict(table) | rest | {"owner": table.owner or file.owner}
        return Weight(name, **fields, where=text.where("weights", name, "value"))

    return tuple(map(weight, file.weights))


def _overrides(tables: Mapping[str, OverrideTable]) -> tuple[Override, ...]:
    return tuple(Override(key, table.value, table.evidence) for key, table in sorted(tables.items()))


def _constraints(text: TomlText, file: PolicyFile) -> tuple[Constraint, ...]:
    return tuple(
        Constraint(**dict(table) | {"owner": table.owner or file.owner}, where=text.where("constraints", i, "metric"))
        for i, table in enumerate(file.constraints)
    )
