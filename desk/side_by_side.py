"""Logged requests ranked again: each item where it stands today and under the draft, and what every term adds to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from desk.material import Material
from value_model.formula.explain import Explanation, explain
from value_model.formula.value_policy import ValuePolicy
from value_model.tuning.scoring import request_weights


@dataclass(frozen=True)
class PlacedItem:
    """An item of one list; `other_place` is its place in the other list, counted from 1."""

    item: str
    merchant: str
    place: int
    other_place: int
    value: float
    terms: tuple[float, ...]

    @property
    def climbed(self) -> int:
        """Places won (negative = lost)."""
        return self.other_place - self.place


@dataclass(frozen=True)
class SideBySide:
    """One request: `before` under today's policy, `after` under the draft, `shown` items each; terms as labelled."""

    title: str
    labels: tuple[str, ...]
    before: tuple[PlacedItem, ...]
    after: tuple[PlacedItem, ...]

    @property
    def longest(self) -> float:
        """The largest sum of an item's terms without their signs: the length of its bars."""
        return max((sum(map(abs, item.terms)) for item in (*self.before, *self.after)), default=0.0) or 1.0

    @property
    def moved(self) -> int:
        """Items of the new list that stand elsewhere than before."""
        return sum(item.climbed != 0 for item in self.after)


def side_by_side(
    material: Material, today: ValuePolicy, draft: ValuePolicy, requests: np.ndarray, *, most: int
) -> tuple[SideBySide, ...]:
    """Of some requests (row numbers), at most `most` places each."""
    if not len(requests):
        return ()
    parts = [_explained(material, policy, requests) for policy in (today, draft)]
    mask = material.evidence.slates.mask[requests]
    orders = [np.argsort(np.where(mask, -part.value, np.inf), axis=1, kind="stable") for part in parts]
    places = [np.argsort(order, axis=1) + 1 for order in orders]
    depth = np.minimum(material.evidence.shown[requests], most)
    return tuple(
        SideBySide(
            str(material.names.titles[request]),
            parts[0].labels,
            *(
                _list(
                    material, parts[i], row, request, orders[i][row, : depth[row]], places[i][row], places[1 - i][row]
                )
                for i in (0, 1)
            ),
        )
        for row, request in enumerate(requests.tolist())
    )


def _explained(material: Material, policy: ValuePolicy, requests: np.ndarray) -> Explanation:
    slates = material.evidence.slates
    weights = request_weights(policy, slates.surface[requests], material.evidence.segment[requests])
    columns = {name: column[requests] for name, column in slates.columns.items()}
    lifted = {name: weight[:, None] for name, weight in weights.items()}
    return explain(policy, columns, weights=lifted, mask=slates.mask[requests])


def _list(
    material: Material,
    part: Explanation,
    row: int,
    request: int,
    order: np.ndarray,
    place: np.ndarray,
    other: np.ndarray,
) -> tuple[PlacedItem, ...]:
    names = material.names
    return tuple(
        PlacedItem(
            item=str(names.items[names.item[request, i]]),
            merchant=str(names.merchants[names.merchant[request, i]]),
            place=int(place[i]),
            other_place=int(other[i]),
            value=float(part.value[row, i]),
            terms=tuple(part.contributions[:, row, i].tolist()),
        )
        for i in order.tolist()
    )


@dataclass(frozen=True)
class RankChanges:
    """Over all requests of a scope: share with another first item, share of shown places with another item."""

    first: float
    places: float


def rank_changes(before: np.ndarray, after: np.ndarray, shown: np.ndarray) -> RankChanges:
    """Of two orders int [R, k], of which `shown` [R] places count."""
    counted = np.arange(before.shape[1]) < shown[:, None]
    differs = (before != after) & counted
    return RankChanges(float(differs[:, 0].mean()), float(differs.sum() / max(counted.sum(), 1)))
