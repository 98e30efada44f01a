"""Candidate sources of a run: one row each, in the order that the blend knows them.

A row says the kind that is written in bundles, the class (its file says what it proposes and how it scores), how it
is built, from which data, what it learns from, and its quota. Training, the blend, basket candidates, exports and
loading loop over the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import pyarrow as pa

from features.interactions import Interactions, impressions, interactions
from marketplace.dataset import Dataset
from retrieval.affinity import Affinity
from retrieval.blend import Blend
from retrieval.build import BuiltIndex
from retrieval.covisits import CoVisits
from retrieval.labelled_requests import segment_of_feedback, segment_of_requests
from retrieval.popularity import Popularity
from retrieval.recent import Recent
from retrieval.repeat_purchase import RepeatPurchase
from retrieval.retriever import Quota, Retriever
from retrieval.similar_segments import SimilarSegments
from retrieval.two_tower_source import TwoTowerSource
from retrieval.user_history import UserHistory

ASK = 300  # items that each source proposes
SURE_NEAREST = 50  # of the candidates: the towers' best, which alone know new items
QUOTA = Quota(ASK)


@dataclass(frozen=True)
class SourceInputs:
    """What sources are built from: `segment` names what groups the shoppers; `index` None = no towers."""

    dataset: Dataset
    segment: str
    index: BuiltIndex | None = None

    @property
    def n_items(self) -> int:
        return len(self.dataset.items)

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


def feedback_events(inputs: SourceInputs, since: int | None, until: int) -> Interactions:
    """Clicks, carts and orders of [since, until), in orders."""
    return interactions(
        inputs.dataset.feedback,
        item_ids=inputs.dataset.items["item_id"],
        since=since,
        until=until,
        segment=inputs.feedback_segments,
    )


def list_entries(inputs: SourceInputs, since: int | None, until: int) -> Interactions:
    """Every item shown in [since, until), whatever its place."""
    return impressions(
        inputs.dataset.slates,
        item_ids=inputs.dataset.items["item_id"],
        since=since,
        until=until,
        segment=inputs.request_segments,
        weight=1.0,
        discount=0.0,
    )


def always(inputs: SourceInputs) -> bool:
    return True


def towers_trained(inputs: SourceInputs) -> bool:
    return inputs.index is not None


def lists_recorded(inputs: SourceInputs) -> bool:
    return inputs.dataset.has_impressions


def purchases_alone(inputs: SourceInputs) -> bool:
    return not inputs.dataset.has_impressions


def lists_of_contexts(inputs: SourceInputs) -> bool:
    """Requests are grouped by an entry of their context, such as a city: most of what they take is new to them."""
    return inputs.dataset.has_impressions and not inputs.segment.startswith("user_")


def benchmarks_alone(inputs: SourceInputs) -> bool:
    return False


@dataclass(frozen=True)
class SourceRow:
    """One candidate source: `kind` is its name in bundles (a class may be renamed, a bundle may not).

    `source` saves and loads itself; `over_index`: instead, it searches the towers' index, which is saved beside it.
    `learns_from` None = nothing to learn.
    """

    kind: str
    source: type[Any]
    build: Callable[[SourceInputs], Any]
    when: Callable[[SourceInputs], bool] = always
    learns_from: Callable[[SourceInputs, int | None, int], Interactions] | None = feedback_events
    quota: Quota = QUOTA
    over_index: bool = False


SOURCES = (
    SourceRow(
        "nearest",
        TwoTowerSource,
        lambda inputs: TwoTowerSource(cast(BuiltIndex, inputs.index)),
        when=towers_trained,
        learns_from=None,
        quota=Quota(ASK, sure=SURE_NEAREST),
        over_index=True,
    ),
    SourceRow("popularity", Popularity, lambda inputs: Popularity(inputs.n_items)),
    SourceRow("repeats", UserHistory, lambda inputs: UserHistory(inputs.n_items)),
    # What a weekly shop holds goes together by habit, not by intent: no co-visits of purchases.
    SourceRow("covisits", CoVisits, lambda inputs: CoVisits(inputs.n_items), when=lists_recorded),
    SourceRow("affinity", Affinity, lambda inputs: Affinity(categories(inputs)), when=purchases_alone),
    SourceRow("rebuys", RepeatPurchase, lambda inputs: RepeatPurchase(inputs.n_items), when=purchases_alone),
    SourceRow(
        "popularity",
        Popularity,
        lambda inputs: Popularity(inputs.n_items, half_life_days=30.0, prior=0.5, name="shown"),
        when=lists_of_contexts,
        learns_from=list_entries,
    ),
    SourceRow("related", SimilarSegments, lambda inputs: SimilarSegments(inputs.n_items), when=benchmarks_alone),
    SourceRow("recent", Recent, lambda inputs: Recent(inputs.n_items), when=benchmarks_alone, learns_from=None),
)


class RunSources:
    """The sources that suit a data set, as of a time that only goes on."""

    def __init__(self, dataset: Dataset, *, segment: str, index: BuiltIndex | None) -> None:
        self._inputs = SourceInputs(dataset, segment, index)
        self._rows = tuple(row for row in SOURCES if row.when(self._inputs))
        self.sources = [row.build(self._inputs) for row in self._rows]
        self._until: int | None = None

    def advance(self, until: int) -> RunSources:
        """Learn what happened before `until` (UTC microseconds)."""
        streams = {row.learns_from for row in self._rows if row.learns_from is not None}
        events = {stream: stream(self._inputs, self._until, until) for stream in streams}
        for row, source in zip(self._rows, self.sources, strict=True):
            if row.learns_from is not None:
                source.update(events[row.learns_from])
        self._until = until
        return self

    @property
    def quotas(self) -> dict[str, Quota]:
        return {source.name: row.quota for row, source in zip(self._rows, self.sources, strict=True)}

    def retriever(self, *, blend: Blend | None) -> Retriever:
        """The sources merged by `blend`; without one by rank."""
        return Retriever(self.sources, self.quotas, blend=blend)
