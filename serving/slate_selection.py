"""Which candidates are shown: a shortlist by value, and the policy file's [slate] section over it.

Propensities are exact for the policy as it is served: it chooses among the shortlist, every item of which is logged,
and an item outside has probability 0 in every place. The shortlist follows from the values (under every draw of
perturbed weights), the merchants' shadow prices and the rules alone, never from the random draws.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from serving.config import ServingConfig
from serving.item_table import ItemTable
from serving.manifest import BundleError
from serving.valuation import Values
from value_model.formula import ValuePolicy
from value_model.formula.slate_section import SlateSection
from value_model.slate_policies.from_policy import perturbed_weights, slate_policy
from value_model.slate_policies.slate_policy import NO_TRAITS, Chosen, ItemAttributes, SlatePolicy, best, finite

DAY_SECONDS = 86_400.0  # seconds


@dataclass(frozen=True)
class SlateContext:
    """What a choice depends on beside the candidates: `k` places; `time` aware; `page_merchant` = a store's own page.

    On a store page everything is of one merchant, so that the merchant cap does not apply.
    """

    k: int
    time: datetime
    page_merchant: bool = False


class SlateSelector:
    """The slate policy of one bundle; `joined` float64 [n_items]: when the item's merchant joined, seconds since 1970.

    `embeddings` float32 [n_items, d], unit length, or None where the bundle has no index. Raises BundleError where
    the policy asks for what the bundle cannot give.
    """

    def __init__(
        self,
        policy: ValuePolicy,
        config: ServingConfig,
        shelf: ItemTable,
        *,
        joined: np.ndarray,
        embeddings: np.ndarray | None = None,
    ) -> None:
        self._section = policy.slate or SlateSection()
        self._shelf, self._joined, self._embeddings, self._config = shelf, joined, embeddings, config
        self._everything = policy.slate_relative  # an item's value would change with what it is compared with
        self._alike = self._section.diversity is not None and self._section.diversity.embedding > 0
        self._ruled = replace(self._section, exploration=None, exposure=None) != SlateSection()
        self._perturbed = perturbed_weights(policy)
        self._policy = slate_policy(policy)
        self._on_store_page = slate_policy(replace(policy, slate=replace(self._section, merchant_cap=None)))
        if self._alike and embeddings is None:
            raise BundleError(
                f"value policy {policy.name!r} compares embeddings, and the bundle has no index. "
                "Compare merchants or categories, or build an index."
            )

    def policy(self, occasion: SlateContext) -> SlatePolicy:
        """What fills the slate of `occasion`."""
        return self._on_store_page if occasion.page_merchant else self._policy

    def shortlist(self, valued: Values, rows: np.ndarray, *, occasion: SlateContext) -> np.ndarray:
        """int64, increasing: the positions among the candidates that the policy chooses from.

        The best by value and shadow price, or every candidate where the formula compares items or the best alone
        cannot fill the slate under its rules.
        """
        most = max(self._config.shortlist, 2 * occasion.k)
        if len(rows) > most and not self._everything:
            kept = leaders(valued.ranked, most)
            if self._enough(rows[kept], occasion):
                return kept
        return np.arange(len(rows))

    def choose(self, valued: Values, rows: np.ndarray, *, occasion: SlateContext, seed: int) -> Chosen:
        """The policy's choice among the shortlist (catalogue rows), with the random numbers of `seed`."""
        rng, traits = np.random.default_rng(seed), self.traits(rows, time=occasion.time)
        policy, k = self.policy(occasion), occasion.k
        if self._perturbed is None:
            return policy.choose(valued.ranked, k=k, rng=rng, traits=traits)
        return self._perturbed.choose(valued.ranked, k=k, draw=valued.draw, slate=policy, traits=traits, rng=rng)

    def traits(self, rows: np.ndarray, *, time: datetime) -> ItemAttributes:
        """What the policy may look at beside the value, as far as it does."""
        if not self._ruled:
            return NO_TRAITS
        return ItemAttributes(
            merchant=self._shelf.merchant[rows],
            category=self._shelf.category[rows],
            newcomer=self._newcomer(rows, time) if self._section.newcomers else None,
            embedding=self._embeddings[rows] if self._alike and self._embeddings is not None else None,
        )

    def _newcomer(self, rows: np.ndarray, time: datetime) -> np.ndarray:
        age = time.timestamp() - self._joined[rows]
        return (age >= 0) & (age < self._config.newcomer_days * DAY_SECONDS)

    def _enough(self, rows: np.ndarray, occasion: SlateContext) -> bool:
        """Whether the rules leave k items and the quota of newcomers among `rows`."""
        left = rows
        caps = (None if occasion.page_merchant else self._section.merchant_cap, self._section.category_cap)
        for code, cap in zip((self._shelf.merchant, self._shelf.category), caps, strict=True):
            left = left if cap is None else left[earliest(code[left], cap)]
        if len(left) < occasion.k:
            return False
        quota = min(self._section.newcomers, occasion.k)
        return not quota or int(self._newcomer(left, occasion.time).sum()) >= quota


def leaders(ranked: np.ndarray, most: int) -> np.ndarray:
    """int64, increasing: the `most` best of values [n], or all that are among the best of a row of [D, n]."""
    if ranked.ndim == 1:
        return np.sort(best(finite(ranked), most))
    ranked = finite(ranked)
    lowest = np.partition(ranked, -most, axis=1)[:, -most, None]
    return np.flatnonzero((ranked >= lowest).any(axis=0))


def earliest(code: np.ndarray, most: int) -> np.ndarray:
    """bool [n]: the first `most` of every code."""
    order = np.argsort(code, kind="stable")
    ordered = code[order]
    start = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(code) else order
    place = np.empty(len(code), np.int64)
    place[order] = np.arange(len(code)) - np.repeat(start, np.diff(np.append(start, len(code))))
    return place < most
