"""Which candidates are shown: a shortlist by value, and the policy file's [slate] section over it.

Propensities are exact for the policy as it is served: it chooses among the shortlist, every item of which is logged,
and an item outside has probability 0 in every place. The shortlist follows from the values (under every draw of
perturbed weights), the merchants' shadow prices and the rules alone, never from the random draws.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from marketplace.schema import LISTS_SINCE, RELEVANCE, SURFACES, microseconds_of
from marketplace.splits import DAY_US
from retrieval.moved_rows import MovedRows
from serving.config import ServingConfig
from serving.interleaving import Rival
from serving.item_table import ItemTable
from serving.manifest import BundleError
from serving.valuation import Values
from value_model.formula import ValuePolicy
from value_model.merchant import ItemMerchants
from value_model.slate_policies.interleaving import interleaved
from value_model.slate_policies.slate_policy import ItemAttributes, SlateChoice, SlatePolicy, best, finite
from value_model.slate_policies.slate_rule import enough
from value_model.slate_policies.slate_section import SlateSection

DAY_SECONDS = 86_400.0  # seconds
NEWCOMER, NEW_ITEM = "newcomer", "new_item"  # the item attributes that depend on the time


@dataclass(frozen=True)
class SlateContext:
    """What a choice depends on beside the candidates: `k` places on a `surface`; `time` aware.

    `relevance` int64 [n]: whoever has the higher number comes first (`SlateSelector.relevance`); None = nothing is
    searched, or the policy says nothing of it. `lists_since` float [n]: how many of the shopper's lists ago each was
    shown and left (`features.statistics.shown_items`); None = the policy does not read it there.
    """

    k: int
    time: datetime
    surface: str
    relevance: np.ndarray | None = None
    lists_since: np.ndarray | None = None

    @property
    def search(self) -> bool:
        return self.relevance is not None

    def only(self, kept: np.ndarray) -> SlateContext:
        """For the candidates at the positions `kept`."""
        relevance, since = (None if column is None else column[kept] for column in (self.relevance, self.lists_since))
        return replace(self, relevance=relevance, lists_since=since)


class SlateSelector:
    """The slate policy of one bundle; `merchants` tell when an item's merchant joined.

    `begun` int64 [n_items]: when each item began, UTC microseconds, written to as items begin.
    `embeddings` float32 [n_items, d], unit length, or None where the bundle has no index. `rival`: its slates are mixed
    with the policy's. Raises BundleError where the policy reads what the bundle cannot tell of its items.
    """

    def __init__(
        self,
        policy: ValuePolicy,
        config: ServingConfig,
        items: ItemTable,
        *,
        merchants: ItemMerchants,
        begun: np.ndarray,
        embeddings: np.ndarray | MovedRows | None = None,
        rival: Rival | None = None,
    ) -> None:
        self._section, self._rival = policy.slate or SlateSection(), rival
        self._sections = (self._section, *(() if rival is None else (rival.policy.slate or SlateSection(),)))
        self._config, self._merchants, self._begun = config, merchants, begun
        # An item's value would change with what it is compared with.
        self._everything = policy.slate_relative or (rival is not None and rival.policy.slate_relative)
        self._policies = {
            (surface, search): [section.policy(surface, search=search) for section in self._sections]
            for surface in SURFACES
            for search in (False, True)
        }
        self._reads = {
            surface: frozenset(name for rule in self._section.rules_for(surface, search=True) for name in rule.reads)
            for surface in SURFACES
        }
        self._columns: dict[str, np.ndarray | MovedRows] = dict(items.attributes)
        if embeddings is not None:
            self._columns["embedding"] = embeddings
        self._attributes_read = tuple(dict.fromkeys(name for section in self._sections for name in section.reads))
        for name in self._attributes_read:
            if name not in (NEWCOMER, NEW_ITEM, RELEVANCE, LISTS_SINCE, *self._columns):
                raise BundleError(
                    f"value policy {policy.name!r} reads {name} of items, which the bundle does not hold; it has "
                    f"{', '.join((NEWCOMER, NEW_ITEM, *self._columns))}. "
                    "Compare embeddings only where there is an index."
                )

    def relevance(self, grade: np.ndarray | None, score: np.ndarray) -> np.ndarray | None:
        """Of a search's candidates with these grades (None = nothing is searched) and retrieval scores: its numbers."""
        rule = self._section.relevance
        return None if grade is None or rule is None else rule.order(grade, score)

    def policy(self, context: SlateContext) -> SlatePolicy:
        """What fills the slate."""
        return self._policies[context.surface, context.search][0]

    def reads(self, surface: str) -> frozenset[str]:
        """The attributes of items that rules there read."""
        return self._reads[surface]

    def select(
        self, values: Values, rows: np.ndarray, *, context: SlateContext, seed: int
    ) -> tuple[np.ndarray, SlateChoice]:
        """The shortlist of candidates (catalogue rows) as `shortlist` gives it, and the policy's choice among it."""
        shortlist = self.shortlist(values, rows, context=context)
        if len(shortlist) < len(rows):
            values, rows, context = values.only(shortlist), rows[shortlist], context.only(shortlist)
        return shortlist, self.choose(values, self.attributes(rows, context=context), context=context, seed=seed)

    def shortlist(
        self, values: Values, rows: np.ndarray, *, context: SlateContext, least: int | None = None
    ) -> np.ndarray:
        """int64, increasing: the positions among the candidates that the policy chooses from.

        The best by value and shadow price (of a search, by tier of relevance first), or every candidate where the
        formula compares items or the best alone cannot fill the slate under its rules. Where new items have a quota, as
        many of them are in it beside the others. `least` None = the bundle's.
        """
        most = max(least or self._config.shortlist, 2 * context.k)
        if len(rows) > most and not self._everything:
            kept = self._leaders(values.ranked, most, context)
            if self._section.new_items is not None:
                kept = np.union1d(kept, self._new_items(values, rows, most, context))
            if self._enough(rows[kept], context.only(kept)):
                return kept
        return np.arange(len(rows))

    def choose(self, values: Values, attributes: ItemAttributes, *, context: SlateContext, seed: int) -> SlateChoice:
        """The policy's choice among the shortlist, with the random numbers of `seed`."""
        rng = np.random.default_rng(seed)
        policy, perturbed, k = self.policy(context), self._section.perturbed_weights, context.k
        if self._rival is not None:
            teams, turns = self._policies[context.surface, context.search], self._rival.turns
            rules = self._section.rules_for(context.surface, search=context.search)
            return interleaved(teams, values.ranked, rules, attributes, k=k, turns=turns, rng=rng)
        if perturbed is None:
            return policy.choose(values.ranked, k=k, rng=rng, attributes=attributes)
        return perturbed.choose(values.ranked, k=k, draw=values.draw, slate=policy, attributes=attributes, rng=rng)

    def attributes(self, rows: np.ndarray, *, context: SlateContext) -> ItemAttributes:
        """What the policy reads of items beside the value."""
        return self._attributes(self._attributes_read, rows, context)

    def _attributes(self, names: Collection[str], rows: np.ndarray, context: SlateContext) -> ItemAttributes:
        columns = {name: self._columns[name][rows] for name in names if name in self._columns}
        if NEWCOMER in names:
            columns[NEWCOMER] = self._newcomer(rows, context.time)
        if NEW_ITEM in names:
            columns[NEW_ITEM] = self._new_item(rows, context.time)
        if context.relevance is not None:
            columns[RELEVANCE] = context.relevance
        if context.lists_since is not None:
            columns[LISTS_SINCE] = context.lists_since
        return ItemAttributes(columns)

    def _leaders(self, ranked: np.ndarray, most: int, context: SlateContext) -> np.ndarray:
        if context.relevance is None:
            return leaders(ranked, most)
        return leaders_by_tier(ranked, context.relevance, most)

    def _new_items(self, values: Values, rows: np.ndarray, most: int, context: SlateContext) -> np.ndarray:
        """int64, increasing: the positions of at most so many items that the quota may draw, the best of them."""
        new = np.flatnonzero(self._new_item(rows, context.time))
        return new if len(new) <= most else new[self._leaders(values.ranked[..., new], most, context.only(new))]

    def _new_item(self, rows: np.ndarray, time: datetime) -> np.ndarray:
        quota = self._section.new_items
        assert quota is not None
        now = microseconds_of(time)
        return (self._begun[rows] <= now) & (self._begun[rows] > now - quota.days * DAY_US)

    def _newcomer(self, rows: np.ndarray, time: datetime) -> np.ndarray:
        age = time.timestamp() - self._merchants.joined(rows)
        return (age >= 0) & (age < self._config.newcomer_days * DAY_SECONDS)

    def _enough(self, rows: np.ndarray, context: SlateContext) -> bool:
        rules = self._section.rules_for(context.surface, search=context.search)
        names = {name for rule in rules for name in rule.reads}
        return enough(rules, self._attributes(names, rows, context), n=len(rows), k=context.k)


def leaders(ranked: np.ndarray, most: int) -> np.ndarray:
    """int64, increasing: the `most` best of values [n], or all that are among the best of a row of [D, n]."""
    ranked = finite(ranked)
    leading = ranked >= np.partition(ranked, -most, axis=-1)[..., -most, None]
    if ranked.ndim > 1:
        return np.flatnonzero(leading.any(axis=0))
    rows = np.flatnonzero(leading)
    return rows if len(rows) == most else np.sort(best(ranked, most))  # equal values: the earlier rows


def leaders_by_tier(ranked: np.ndarray, tier: np.ndarray, most: int) -> np.ndarray:
    """int64, increasing: the highest tiers (int [n]) while they hold fewer than `most`, then leaders of the next."""
    lowest = np.sort(tier)[-most]
    above, level = np.flatnonzero(tier > lowest), np.flatnonzero(tier == lowest)
    return np.sort(np.append(above, level[leaders(ranked[..., level], most - len(above))]))
