"""Inputs of candidate sources: the data that a run builds them from, and the events that they learn from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.catalogue import Catalogue
from features.interactions import KINDS, Interactions, impressions, interactions, joined
from features.text.lexical_index import LexicalIndex
from marketplace.dataset import Dataset
from marketplace.slate_columns import to_numpy
from retrieval.build import BuiltIndex
from retrieval.config import SOURCE_DEFAULTS, SourcesConfig
from retrieval.labelled_requests import segment_of_feedback, segment_of_requests

PRICE_STEP = 0.25  # width of a price band, in log price
LEAST_PRICE = 0.01  # below it prices are not told apart


@dataclass(frozen=True)
class SourceInputs:
    """What sources are built from: `segment` names what groups the shoppers; `index` None = no towers.

    `catalogue` is that of `dataset`, where one is at hand: its lexical index is made once.
    """

    dataset: Dataset
    segment: str
    index: BuiltIndex | None = None
    catalogue: Catalogue | None = None
    config: SourcesConfig = SOURCE_DEFAULTS

    @property
    def n_items(self) -> int:
        return len(self.dataset.items)

    @cached_property
    def items(self) -> Catalogue:
        return self.catalogue or Catalogue.of(self.dataset)

    @property
    def by_context(self) -> bool:
        """Lists are grouped by an entry of their context, such as a city: most of what they take is new to them."""
        return self.dataset.has_impressions and not self.segment.startswith("user_")

    @cached_property
    def lexical_index(self) -> LexicalIndex:
        return self.items.lexical_index

    @cached_property
    def events(self) -> frozenset[str]:
        """The kinds of event that the feedback records."""
        return frozenset(pc.unique(self.dataset.feedback["event"].cast(pa.string())).to_pylist())

    @cached_property
    def feedback_segments(self) -> pa.Array:
        """string [rows of feedback]."""
        return segment_of_feedback(self.dataset, self.segment)

    @cached_property
    def request_segments(self) -> pa.Array:
        """string [rows of slates]."""
        return pa.array(segment_of_requests(self.dataset, self.dataset.slates, self.segment))


def categories(inputs: SourceInputs) -> np.ndarray:
    """int32 [n_items]: a code a category."""
    codes = inputs.dataset.items["category"].cast(pa.string()).combine_chunks().dictionary_encode().indices
    return codes.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)


def price_bands(inputs: SourceInputs) -> np.ndarray:
    """int32 [n_items]: a code a category and band of price around the category's median."""
    import pandas as pd  # a third of a second and 80 MB, needed where sources are built alone

    log_price = pd.Series(np.log(np.maximum(to_numpy(inputs.dataset.items["price"]), LEAST_PRICE)))
    relative = log_price - log_price.groupby(categories(inputs)).transform("median")
    band = np.clip(np.floor(relative / PRICE_STEP), -4, 4).fillna(5) + 4
    return (categories(inputs) * 10 + band.to_numpy()).astype(np.int32)


def feedback_events(inputs: SourceInputs, since: int | None, until: int) -> Interactions:
    """Clicks, carts and orders of [since, until), in orders."""
    return interactions(
        inputs.dataset.feedback,
        item_ids=inputs.dataset.items["item_id"],
        since=since,
        until=until,
        segment=inputs.feedback_segments,
    )


def wishes(inputs: SourceInputs, since: int | None, until: int) -> Interactions:
    """Events, and where most of what is taken is new to the shopper the items shown too, as faint ones."""
    events = feedback_events(inputs, since, until)
    return joined(events, _shown(inputs, since, until, weight=0.3, discount=1.0)) if inputs.by_context else events


def visits(inputs: SourceInputs, since: int | None, until: int) -> Interactions:
    """Events of each visit, and there too what each list held."""
    events = feedback_events(inputs, since, until)
    return joined(events, list_entries(inputs, since, until)) if inputs.by_context else events


def orders(inputs: SourceInputs, since: int | None, until: int) -> Interactions:
    """Orders of [since, until) alone."""
    events = feedback_events(inputs, since, until)
    return events.select(events.kind == KINDS.index("order"))


def list_entries(inputs: SourceInputs, since: int | None, until: int) -> Interactions:
    """Every item shown in [since, until), whatever its place."""
    return _shown(inputs, since, until, weight=1.0, discount=0.0)


def _shown(inputs: SourceInputs, since: int | None, until: int, *, weight: float, discount: float) -> Interactions:
    return impressions(
        inputs.dataset.slates,
        item_ids=inputs.dataset.items["item_id"],
        since=since,
        until=until,
        segment=inputs.request_segments,
        weight=weight,
        discount=discount,
    )
