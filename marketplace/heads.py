"""Heads: what a ranker predicts of a candidate, one row each; whatever knows of a head loops over these rows.

A head is learned where its label and its condition are recorded, unless it is the product of others that are learned:
then it is composed, by `composed` alone. In what order rows stand matters: factors before their product, a new head
last. Labels are float32 [N] by name, NaN where they are not known yet (`marketplace.settled`), absent where they are
not recorded: purchase-only data have no `click`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

Labels = Mapping[str, np.ndarray]


class HeadKind(StrEnum):
    """The kind fixes link, loss, calibrator and metrics."""

    PROBABILITY = "probability"  # of an event: logit, cross-entropy, Platt or isotonic
    MONEY = "money"  # an expected amount: log-normal likelihood, scale


class UnknownHead(ValueError):
    """A name that is no row of the table: says which heads there are."""


@dataclass(frozen=True)
class Head:
    """P(label | condition), or E[label | condition] in the data's currency; condition None = the item is shown.

    `factors`: heads whose product it is. `through`: the product whose loss over all rows teaches this head (ESMM); its
    own loss, on the rows of its condition, is then optional. `sign`: which way the value goes when it grows.
    `minus`: the head that is taken from the product: what a treatment adds. No row shows that: its label is "".
    """

    name: str
    label: str
    meaning: str
    unit: str
    condition: str | None = None
    kind: HeadKind = HeadKind.PROBABILITY
    factors: tuple[str, ...] = ()
    through: str | None = None
    minus: str | None = None
    sign: str = "+"

    @property
    def outcome(self) -> str:
        """What one impression brings by it: the event's name, or for an amount the head's own."""
        return self.name if self.kind is HeadKind.MONEY else self.label

    @property
    def total(self) -> str:
        """The name of the outcome's sum over a slate."""
        return self.name if self.kind is HeadKind.MONEY else f"{self.label}s"

    @property
    def after_event(self) -> bool:
        """Whether it speaks of items that something was done with: they were examined."""
        return self.condition in {head.label for head in HEADS if head.kind is HeadKind.PROBABILITY}

    @property
    def signed(self) -> bool:
        """Whether it may be negative: a difference, or a product with one."""
        return self.minus is not None or any(head_of(factor).signed for factor in self.factors)

    @property
    def is_rate(self) -> bool:
        """Whether the event's share of its condition is a rate of its own, and no product of others."""
        return self.kind is HeadKind.PROBABILITY and not self.factors

    def rows(self, labels: Labels) -> np.ndarray:
        """bool [N]: where its condition holds and its label is known."""
        known = ~np.isnan(labels[self.label])
        return known if self.condition is None else known & (labels[self.condition] > 0)

    def training_rows(self, labels: Labels) -> np.ndarray:
        """bool [N]: where it is supervised; the logarithm of an amount needs one above 0.

        An order of amount 0 (a voucher) is an order all the same: a calibrator learns from `rows`, so that the share of
        such orders stands in the amount's scale.
        """
        rows = self.rows(labels)
        return rows & (labels[self.label] > 0) if self.kind is HeadKind.MONEY else rows


HEADS = (
    Head("ctr", "click", "P(click | shown)", "click / impression"),
    Head("cvr", "order", "P(order | click)", "order / click", condition="click", through="ctcvr"),
    Head("ctcvr", "order", "P(order | shown)", "order / impression", factors=("ctr", "cvr")),
    Head("order_value", "order_value", "E[order value | order]", "currency / order", "order", HeadKind.MONEY),
    Head(
        "gmv",
        "order_value",
        "E[order value | shown]",
        "currency / impression",
        kind=HeadKind.MONEY,
        factors=("ctcvr", "order_value"),
    ),
    Head("cart", "cart", "P(add to cart | shown)", "cart / impression"),
    Head("kept", "kept_order", "P(neither refused nor returned | order)", "1", condition="order"),
    Head("kept_order", "kept_order", "P(order that is kept | shown)", "order / impression", factors=("ctcvr", "kept")),
    Head(
        "net_gmv",
        "net_value",
        "E[order value that is kept | shown]",
        "currency / impression",
        kind=HeadKind.MONEY,
        factors=("gmv", "kept"),
    ),
    # Of an item shown with a treatment, such as a coupon, or without (`marketplace.treatment`): what it adds.
    Head("ctcvr_treated", "order", "P(order | shown, treated)", "order / impression", condition="treated"),
    Head("ctcvr_control", "order", "P(order | shown, not treated)", "order / impression", condition="control"),
    Head(
        "uplift",
        "",
        "P(order | shown, treated) - P(order | shown, not treated)",
        "order / impression",
        factors=("ctcvr_treated",),
        minus="ctcvr_control",
    ),
    Head(
        "incremental_gmv",
        "",
        "E[order value that treating it adds | shown]",
        "currency / impression",
        kind=HeadKind.MONEY,
        factors=("uplift", "order_value"),
    ),
)


def head_of(name: str) -> Head:
    """The row of a name; raises UnknownHead."""
    for head in HEADS:
        if head.name == name:
            return head
    raise UnknownHead(f"{name!r} is no head; marketplace/heads.py has {', '.join(head.name for head in HEADS)}.")


def heads_of(names: Iterable[str]) -> tuple[Head, ...]:
    """The rows of some names, in the table's order; raises UnknownHead."""
    chosen = {head_of(name).name for name in names}
    return tuple(head for head in HEADS if head.name in chosen)


def per_impression(names: Collection[str]) -> tuple[Head, ...]:
    """Those of some names that speak of every item shown, and that rows show: what a slate is judged on."""
    return tuple(head for head in HEADS if head.name in names and head.condition is None and head.label)


def recorded_heads(labels: Collection[str]) -> tuple[Head, ...]:
    """The heads that data with these labels can judge, learned and composed."""
    return tuple(head for head in HEADS if {head.label, head.condition or head.label} <= set(labels))


def learned_heads(labels: Collection[str]) -> tuple[Head, ...]:
    """The heads that data with these labels teach; an amount per impression is only ever composed."""
    heads = recorded_heads(labels)
    amounts = [head.name for head in heads if head.kind is HeadKind.MONEY and head.factors]
    return uncomposed(head.name for head in heads if head.name not in amounts)


def uncomposed(names: Iterable[str]) -> tuple[Head, ...]:
    """Those of some names that are no product of others of them; raises UnknownHead."""
    heads = heads_of(names)
    products = {head.name for head in _products(head.name for head in heads)}
    return tuple(head for head in heads if head.name not in products)


def products(names: Iterable[str]) -> tuple[Head, ...]:
    """The heads that are composed where those of some names are learned."""
    return _products(head.name for head in uncomposed(names))


def composed(heads: Mapping[str, Any]) -> dict[str, Any]:
    """Heads (arrays or tensors [N]) with every product that they allow: the one place where heads are multiplied."""
    learned, products = _composition(tuple(heads))
    result = {head.name: heads[head.name] for head in learned}
    for head in products:
        product = functools.reduce(operator.mul, (result[factor] for factor in head.factors))
        result[head.name] = product if head.minus is None else product - result[head.minus]
    return result


@functools.cache
def _composition(names: tuple[str, ...]) -> tuple[tuple[Head, ...], tuple[Head, ...]]:
    """Of some names those that are learned, and the products that these allow."""
    return uncomposed(names), products(names)


def bringing_event(amount: Head) -> Head:
    """The event per impression without which an amount per impression is 0: the product of its factors but amounts."""
    chances = [factor for factor in _learned_factors(amount) if factor.kind is HeadKind.PROBABILITY]
    events = (head for head in HEADS if head.kind is HeadKind.PROBABILITY and head.condition is None)
    return next(head for head in events if set(_learned_factors(head)) == set(chances))


def _learned_factors(head: Head) -> list[Head]:
    parts = (_learned_factors(head_of(factor)) for factor in head.factors)
    return [part for factor in parts for part in factor] or [head]


def _products(names: Iterable[str]) -> tuple[Head, ...]:
    known, products = set(names), []
    for head in HEADS:
        if head.factors and known.issuperset({*head.factors, head.minus or head.factors[0]}):
            known.add(head.name)
            products.append(head)
    return tuple(products)
