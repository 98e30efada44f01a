"""A value policy: named formulas with their weights, owners and reasons; its version is the hash of its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from marketplace.finding import Where
from value_model.formula.constraint import Constraint
from value_model.formula.quantities import STANDARD, Quantity, Sign
from value_model.formula.tree import SLATE_FUNCTIONS, Node, functions, names, text
from value_model.formula.units import Unit, parse_unit
from value_model.slate_policies.slate_section import SlateSection


@dataclass(frozen=True)
class Override:
    """The weight that one surface or segment alone would ask for.

    `evidence` is how many requests say so; None = it is decided, not estimated, and applies in full.
    """

    key: str
    value: float
    evidence: float | None = None

    def shrunk(self, towards: float, *, prior: float) -> float:
        """towards + n / (n + prior) * (value - towards): empirical-Bayes shrinkage with `prior` pseudo-requests."""
        if self.evidence is None:
            return self.value
        return towards + self.evidence / (self.evidence + prior) * (self.value - towards)


@dataclass(frozen=True)
class Weight:
    """A number that somebody owns; `term` False marks a shape parameter that switches nothing off at `neutral`."""

    name: str
    value: float
    unit: str
    low: float
    high: float
    owner: str
    reason: str
    sign: Sign = Sign.ANY
    term: bool = True
    neutral: float = 0.0
    surface: tuple[Override, ...] = ()
    segment: tuple[Override, ...] = ()
    where: Where = field(default=Where("weight"), compare=False, repr=False)

    def applied(self, surface: str | None, segment: str | None, *, prior: float) -> float:
        """The weight of a request: global, then its surface's, then its segment's override shrinks towards that."""
        value = self.value
        for overrides, key in ((self.surface, surface), (self.segment, segment)):
            for override in overrides:
                if override.key == key:
                    value = override.shrunk(value, prior=prior)
        return value


@dataclass(frozen=True)
class Expression:
    """A named formula; it may use the expressions above it."""

    name: str
    source: str
    tree: Node = field(compare=False, repr=False)
    where: Where = field(default=Where("expression"), compare=False, repr=False)


@dataclass(frozen=True)
class ValuePolicy:
    """Everything that turns predictions into the ranking value.

    `result` names the expression that ranks, in `unit`; `prior` is the pseudo-requests of shrinkage.
    """

    name: str
    owner: str
    reason: str
    currency: str
    unit: str
    expressions: tuple[Expression, ...]
    weights: tuple[Weight, ...]
    quantities: tuple[Quantity, ...] = ()
    result: str = "value"
    prior: float = 10_000.0
    slate: SlateSection | None = None
    constraints: tuple[Constraint, ...] = ()
    where: Where = field(default=Where("policy"), compare=False, repr=False)

    @cached_property
    def version(self) -> str:
        """The first 12 hex digits of the SHA-256 of the canonical content: spaces in a formula do not matter."""
        content = json.dumps(self._canonical(), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def _canonical(self) -> dict[str, object]:
        slate = {} if self.slate is None else {"slate": self.slate.canonical()}
        held = sorted([c.subject, c.bound, c.confidence, c.owner, c.reason] for c in self.constraints)
        constraints = {"constraints": held} if held else {}
        return (
            slate
            | constraints
            | {
                "head": [self.name, self.owner, self.reason, self.currency, self.unit, self.result, self.prior],
                "expressions": [[e.name, text(e.tree)] for e in self.expressions],
                "weights": sorted(
                    [w.name, w.value, w.unit, w.low, w.high, w.owner, w.reason, w.sign, w.term, w.neutral]
                    + [sorted([o.key, o.value, str(o.evidence)] for o in part) for part in (w.surface, w.segment)]
                    for w in self.weights
                ),
                "quantities": sorted(
                    [q.name, q.unit, q.low, q.high, q.sign, q.meaning, q.head]
                    + ([] if q.missing is None else [q.missing])
                    for q in self.quantities
                ),
            }
        )

    @cached_property
    def weight(self) -> Mapping[str, Weight]:
        return {weight.name: weight for weight in self.weights}

    @cached_property
    def expression(self) -> Mapping[str, Expression]:
        return {expression.name: expression for expression in self.expressions}

    @cached_property
    def quantity(self) -> Mapping[str, Quantity]:
        """The standard quantities and the file's own, which win."""
        return {**STANDARD, **{quantity.name: quantity for quantity in self.quantities}}

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The columns that the formulas read, in order of first use."""
        policy_names = self.expression.keys() | self.weight.keys()
        used = (name for expression in self.expressions for name in names(expression.tree))
        return tuple(dict.fromkeys(name for name in used if name not in policy_names))

    @cached_property
    def stand_ins(self) -> Mapping[str, float]:
        """What stands for a value that is not known, of the inputs that say so."""
        values = {name: self.quantity[name].missing for name in self.inputs if name in self.quantity}
        return {name: missing for name, missing in values.items() if missing is not None}

    @cached_property
    def slate_relative(self) -> bool:
        """Whether an item's value depends on the other items of its slate."""
        return any(name in SLATE_FUNCTIONS for e in self.expressions for name in functions(e.tree))

    def weights_for(self, *, surface: str | None = None, segment: str | None = None) -> dict[str, float]:
        """The weights as applied to a request: what the log records."""
        return {w.name: w.applied(surface, segment, prior=self.prior) for w in self.weights}

    def units(self) -> dict[str, Unit]:
        """The unit of every weight and quantity."""
        named = {name: (q.unit, q.where) for name, q in self.quantity.items()}
        named |= {name: (w.unit, w.where) for name, w in self.weight.items()}
        return {n: parse_unit(unit, currency=self.currency, where=where) for n, (unit, where) in named.items()}

    def with_weights(self, values: Mapping[str, float]) -> ValuePolicy:
        """The policy with other global weights; overrides stay."""
        return replace(self, weights=tuple(replace(w, value=float(values.get(w.name, w.value))) for w in self.weights))
