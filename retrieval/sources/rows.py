"""Candidate sources of a run: one row each, in the order that the blend knows them.

A row says the kind that is written in bundles, the class (its file says what it proposes and how it scores), how it
is built, from which data and what it learns from. Training, the blend, basket candidates, exports and loading loop over
the rows; which surface asks a source, and for how many items, is in `retrieval/surfaces.toml`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from features.interactions import KINDS, Interactions
from marketplace.first_seen import begun
from retrieval.build import BuiltIndex
from retrieval.sources.affinity import Affinity
from retrieval.sources.catalogue_sample import CatalogueSample
from retrieval.sources.covisits import CoVisits
from retrieval.sources.inputs import (
    SourceInputs,
    categories,
    feedback_events,
    list_entries,
    orders,
    price_bands,
    visits,
    wishes,
)
from retrieval.sources.lexical_source import LexicalSource
from retrieval.sources.new_arrivals import NewArrivals
from retrieval.sources.page_covisits import PageCoVisits
from retrieval.sources.page_neighbours import PageNeighbours
from retrieval.sources.popularity import Popularity
from retrieval.sources.recent import Recent
from retrieval.sources.repeat_purchase import RepeatPurchase
from retrieval.sources.same_merchant import SameMerchant
from retrieval.sources.similar_items import SimilarItems
from retrieval.sources.similar_segments import SimilarSegments
from retrieval.sources.similar_shoppers import SimilarShoppers
from retrieval.sources.two_tower_source import TwoTowerSource
from retrieval.sources.user_history import UserHistory

INTEREST = frozenset(KINDS) - {"order"}
CONTEXT_PRIOR = 0.5  # events by which the popularity in a context leans on everybody's


def always(inputs: SourceInputs) -> bool:
    return True


def towers_trained(inputs: SourceInputs) -> bool:
    return inputs.index is not None


def interest_recorded(inputs: SourceInputs) -> bool:
    """Events that say what a shopper looks for now: those of lists, or clicks and carts without any."""
    return inputs.dataset.has_impressions or turned_to(inputs)


def turned_to(inputs: SourceInputs) -> bool:
    """Clicks or carts without lists: a shopper goes on from the items of a moment ago."""
    return without_lists(inputs) and not INTEREST.isdisjoint(inputs.events)


def without_lists(inputs: SourceInputs) -> bool:
    return not inputs.dataset.has_impressions and not nothing_recorded(inputs)


def pages_recorded(inputs: SourceInputs) -> bool:
    """Lists on product pages, or no lists at all: then a shopper goes on from the item touched last."""
    return inputs.dataset.has_product_pages or not inputs.dataset.has_impressions


def views_of_pages(inputs: SourceInputs) -> bool:
    return interest_recorded(inputs) and pages_recorded(inputs)


def orders_of_pages(inputs: SourceInputs) -> bool:
    return "order" in inputs.events and pages_recorded(inputs)


def nothing_recorded(inputs: SourceInputs) -> bool:
    return len(inputs.dataset.slates) + len(inputs.dataset.feedback) == 0


def lists_of_contexts(inputs: SourceInputs) -> bool:
    return inputs.by_context


def returned_to(inputs: SourceInputs) -> bool:
    """A shopper goes back and forth between a few items."""
    return turned_to(inputs) or lists_of_contexts(inputs)


def popularity(inputs: SourceInputs) -> Popularity:
    """A context that most have few requests of takes its own counts at once."""
    if inputs.by_context:
        return Popularity(inputs.n_items, half_life_days=inputs.config.shown_half_life, prior=CONTEXT_PRIOR)
    half_life, prior = inputs.config.popularity_half_life, inputs.config.popularity_prior
    return Popularity(inputs.n_items, half_life_days=half_life, prior=prior)


def searched_by_words(inputs: SourceInputs) -> bool:
    return inputs.dataset.has_text


def beginnings_known(inputs: SourceInputs) -> bool:
    """Launches, or first sights after the records' first days."""
    items = inputs.dataset.items
    return min(items["available_from"].null_count, items["first_seen"].null_count) < inputs.n_items


def covisits(inputs: SourceInputs) -> CoVisits:
    return CoVisits(
        inputs.n_items,
        half_life_days=inputs.config.covisits_half_life,
        neighbours=inputs.config.covisits_neighbours,
    )


@dataclass(frozen=True)
class SourceRow:
    """One candidate source: `kind` is its name in bundles (a class may be renamed, a bundle may not).

    `source` saves and loads itself; `over_index`: instead, it searches an index that is kept elsewhere, the towers'
    (`index`) or that of words (`lexical_index`), by its name among the `SourceInputs`.
    `learns_from` None = nothing to learn.
    """

    kind: str
    source: type[Any]
    build: Callable[[SourceInputs], Any]
    when: Callable[[SourceInputs], bool] = always
    learns_from: Callable[[SourceInputs, int | None, int], Interactions] | None = feedback_events
    over_index: str | None = None


SOURCES = (
    SourceRow(
        "nearest",
        TwoTowerSource,
        lambda inputs: TwoTowerSource(cast(BuiltIndex, inputs.index)),
        when=towers_trained,
        learns_from=None,
        over_index="index",
    ),
    SourceRow("popularity", Popularity, popularity, learns_from=wishes),
    SourceRow(
        "repeats",
        UserHistory,
        lambda inputs: UserHistory(inputs.n_items, half_life_days=inputs.config.history_half_life),
    ),
    # What a weekly shop holds goes together by habit, not by intent: no co-visits of purchases.
    SourceRow("covisits", CoVisits, covisits, when=interest_recorded, learns_from=visits),
    SourceRow(
        "affinity",
        Affinity,
        lambda inputs: Affinity(
            categories(inputs),
            half_life_days=inputs.config.affinity_half_life,
            strength=inputs.config.affinity_strength,
        ),
        when=without_lists,
    ),
    SourceRow(
        "affinity",
        Affinity,
        lambda inputs: Affinity(price_bands(inputs), strength=1.0, damping=2.0),
        when=lists_of_contexts,
        learns_from=wishes,
    ),
    SourceRow(
        "rebuys",
        RepeatPurchase,
        lambda inputs: RepeatPurchase(inputs.n_items, prior=inputs.config.rebuys_prior),
        when=without_lists,
    ),
    SourceRow(
        "similar_shoppers",
        SimilarShoppers,
        lambda inputs: SimilarShoppers(inputs.n_items, half_life_days=inputs.config.history_half_life),
        when=without_lists,
    ),
    SourceRow(
        "popularity",
        Popularity,
        lambda inputs: Popularity(
            inputs.n_items, half_life_days=inputs.config.shown_half_life, prior=CONTEXT_PRIOR, name="shown"
        ),
        when=lists_of_contexts,
        learns_from=list_entries,
    ),
    SourceRow(
        "new_arrivals",
        NewArrivals,
        lambda inputs: NewArrivals(begun(inputs.dataset.items), days=inputs.config.new_days),
        when=beginnings_known,
        learns_from=None,
    ),
    SourceRow("similar", SimilarItems, lambda inputs: SimilarItems.of(inputs.items), learns_from=None),
    SourceRow(
        "neighbours",
        PageNeighbours,
        lambda inputs: PageNeighbours(cast(BuiltIndex, inputs.index)),
        when=towers_trained,
        learns_from=None,
        over_index="index",
    ),
    SourceRow(
        "page_covisits",
        PageCoVisits,
        lambda inputs: PageCoVisits(covisits(inputs), name="also_viewed"),
        when=views_of_pages,
    ),
    SourceRow(
        "page_covisits",
        PageCoVisits,
        lambda inputs: PageCoVisits(covisits(inputs), name="bought_together"),
        when=orders_of_pages,
        learns_from=orders,
    ),
    SourceRow(
        "same_merchant",
        SameMerchant,
        lambda inputs: SameMerchant(inputs.items.merchant, half_life_days=inputs.config.merchant_half_life),
    ),
    SourceRow(
        "related",
        SimilarSegments,
        lambda inputs: SimilarSegments(inputs.n_items),
        when=lists_of_contexts,
        learns_from=list_entries,
    ),
    SourceRow("recent", Recent, lambda inputs: Recent(inputs.n_items), when=returned_to, learns_from=None),
    SourceRow(
        "sample",
        CatalogueSample,
        lambda inputs: CatalogueSample(inputs.n_items),
        when=nothing_recorded,
        learns_from=None,
    ),
    SourceRow(
        "lexical",
        LexicalSource,
        lambda inputs: LexicalSource(inputs.lexical_index),
        when=searched_by_words,
        learns_from=None,
        over_index="lexical_index",
    ),
)
