"""Weighted drawing of items from groups (a category, a merchant, the whole catalogue) for many requests at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ItemPool:
    """Items sorted by group: group g owns order[start[g]:start[g + 1]], weights cumulated over the whole order."""

    order: np.ndarray  # int32 [I]
    start: np.ndarray  # int64 [groups + 1]
    cumulative: np.ndarray  # float64 [I + 1]

    def draw(self, group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One item (int32, the shape of `group`) of each group, by weight; -1 where the group is empty."""
        low, high = self.cumulative[self.start[group]], self.cumulative[self.start[group + 1]]
        point = low + rng.random(group.shape) * (high - low)
        place = np.searchsorted(self.cumulative, point, side="right") - 1
        place = np.clip(place, self.start[group], self.start[group + 1] - 1)
        return np.where(high > low, self.order[place], -1).astype(np.int32)


def pool(group: np.ndarray, weight: np.ndarray, *, groups: int) -> ItemPool:
    order = np.argsort(group, kind="stable").astype(np.int32)
    start = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=groups))])
    return ItemPool(order, start, np.concatenate([[0.0], np.cumsum(weight[order])]))


@dataclass(frozen=True)
class Pools:
    """The groups that candidates and pages are drawn from; items out of stock are in none."""

    category: ItemPool
    merchant: ItemPool
    everything: ItemPool
    uniform: ItemPool


def build_pools(
    category: np.ndarray, merchant: np.ndarray, weight: np.ndarray, *, categories: int, merchants: int
) -> Pools:
    """Pools over items with `weight` (0 = never drawn)."""
    whole = np.zeros(len(weight), np.int64)
    sold = (weight > 0).astype(float)
    return Pools(
        category=pool(category, weight, groups=categories),
        merchant=pool(merchant, np.sqrt(weight), groups=merchants),
        everything=pool(whole, weight, groups=1),
        uniform=pool(whole, sold, groups=1),
    )
