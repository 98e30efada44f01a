"""Which items are shown, in which order: what a slate policy is, and the greedy one.

A policy turns the values of n candidates into an ordered choice of k and says with which probability each was
placed: propensity[j] = P(item j here | the items above it, the policy and what it knew). The probability of the whole
slate is their product. Values that are not finite rank last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class SlateChoice:
    """`order` int64 [k]: rows of the candidates, first place first; `propensity` float64 [k] in (0, 1]."""

    order: np.ndarray
    propensity: np.ndarray


@dataclass(frozen=True)
class ItemAttributes:
    """What a policy may look at beside the value: columns over the n candidates, by name.

    Codes int [n] of merchant, category and whatever else the catalogue tells of its items, below 0 = not known;
    newcomer bool [n]: the merchant is new; new_item bool [n]: the item is; embedding float32 [n, d], unit length.
    """

    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.columns:
            raise ValueError(f"the policy reads {name}, which the candidates lack: pass ItemAttributes with {name!r}.")
        return self.columns[name]


NO_ATTRIBUTES = ItemAttributes()


class SlatePolicy(Protocol):
    """Chooses at most k of n candidates."""

    def choose(
        self, value: np.ndarray, *, k: int, rng: np.random.Generator, attributes: ItemAttributes = NO_ATTRIBUTES
    ) -> SlateChoice:
        """The choice for values float64 [n]; shorter than k only where n or the constraints leave no more."""
        ...

    def propensity(
        self, value: np.ndarray, order: np.ndarray, *, k: int | None = None, attributes: ItemAttributes = NO_ATTRIBUTES
    ) -> np.ndarray:
        """float64 [len(order)]: P(order[j] | order[:j]) had this policy filled k places (default: those of `order`).

        What `choose` logs for its own slates, and what another policy's slates would have had; 0 from the first
        impossible item on.
        """
        ...


LOWEST = -1e150  # stands for "not finite"; leaves room for a division by a temperature


def finite(value: np.ndarray) -> np.ndarray:
    """float64 [n] where NaN and infinities are LOWEST, so that they rank last."""
    value = np.asarray(value, np.float64)
    return np.where(np.isfinite(value), value, LOWEST)


def best(value: np.ndarray, k: int) -> np.ndarray:
    """int64 [min(k, n)]: rows of the k highest, highest first, the earlier row first among equals."""
    n = len(value)
    if k >= n:
        return np.argsort(-value, kind="stable")
    if k <= 0:
        return np.empty(0, np.int64)
    lowest = np.partition(value, n - k)[n - k]
    rows = np.flatnonzero(value >= lowest)
    return rows[np.argsort(-value[rows], kind="stable")[:k]]


@dataclass(frozen=True)
class Greedy:
    """The k highest values; nothing is random, so every propensity is 1."""

    def choose(
        self,
        value: np.ndarray,
        *,
        k: int,
        rng: np.random.Generator | None = None,
        attributes: ItemAttributes = NO_ATTRIBUTES,
    ) -> SlateChoice:
        order = best(finite(value), k)
        return SlateChoice(order, np.ones(len(order)))

    def propensity(
        self, value: np.ndarray, order: np.ndarray, *, k: int | None = None, attributes: ItemAttributes = NO_ATTRIBUTES
    ) -> np.ndarray:
        same = best(finite(value), len(order)) == order
        return np.logical_and.accumulate(same).astype(np.float64)

    def pick(self, score: np.ndarray, rng: np.random.Generator) -> tuple[int, float]:
        """The row of the highest score, certain."""
        return int(score.argmax()), 1.0

    def odds(self, score: np.ndarray) -> np.ndarray:
        """1 for the row of the highest score."""
        odds = np.zeros(len(score))
        odds[score.argmax()] = 1.0
        return odds
