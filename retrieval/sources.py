"""The candidate sources of a run, and the retriever that merges them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from features.interactions import Interactions, impressions, interactions
from marketplace.dataset import Dataset
from retrieval.affinity import Affinity
from retrieval.blend import Blend, ScoringSource
from retrieval.build import BuiltIndex
from retrieval.covisits import CoVisits
from retrieval.labelled_requests import segment_of_feedback, segment_of_requests
from retrieval.popularity import Popularity
from retrieval.repeat_purchase import RepeatPurchase
from retrieval.retriever import Quota, Retriever
from retrieval.source import CandidateSource
from retrieval.two_tower_source import TwoTowerSource
from retrieval.user_history import UserHistory

ASK = 300  # items that each source proposes
SURE_NEAREST = 50  # of the candidates: the towers' best, which alone know new items


class LearningSource(ScoringSource, Protocol):
    """A source that learns from interactions."""

    def update(self, events: Interactions) -> None: ...


class CountingSources:
    """The sources that learn by counting, and can be advanced: popularity by segment and the shopper's own repeats.

    Where lists were recorded, co-visits; where only purchases were, the shopper's categories and what is bought again:
    what a weekly shop holds goes together by habit, not by intent. Where requests are grouped by context,
    such as a city, also what the group's lists showed: most of what is wanted there was never touched before.
    """

    def __init__(self, dataset: Dataset, *, segment: str) -> None:
        self._dataset = dataset
        self._segment = segment_of_feedback(dataset, segment)
        n_items = len(dataset.items)
        self._learning: list[LearningSource] = [Popularity(n_items), UserHistory(n_items)]
        if dataset.has_impressions:
            self._learning.append(CoVisits(n_items))
        else:
            self._learning += [Affinity(categories(dataset)), RepeatPurchase(n_items)]
        self._shown: Popularity | None = None
        if dataset.has_impressions and not segment.startswith("user_"):
            self._asked_for = pa.array(segment_of_requests(dataset, dataset.slates, segment))
            self._shown = Popularity(n_items, half_life_days=30.0, prior=0.5, name="shown")
        self._until: int | None = None

    def advance(self, until: int) -> CountingSources:
        """Learn what happened before `until` (UTC microseconds); time only goes on."""
        events = self._events(until)
        for source in self._learning:
            source.update(events)
        if self._shown is not None:
            self._shown.update(self._impressions(until))
        self._until = until
        return self

    @property
    def sources(self) -> list[CandidateSource]:
        return [*self._learning, *([] if self._shown is None else [self._shown])]

    def _events(self, until: int) -> Interactions:
        items = self._dataset.items["item_id"]
        return interactions(
            self._dataset.feedback, item_ids=items, since=self._until, until=until, segment=self._segment
        )

    def _impressions(self, until: int) -> Interactions:
        """Every item shown, whatever its place."""
        items, slates = self._dataset.items["item_id"], self._dataset.slates
        return impressions(
            slates, item_ids=items, since=self._until, until=until, segment=self._asked_for, weight=1.0, discount=0.0
        )


def categories(dataset: Dataset) -> np.ndarray:
    """int32 [n_items]: a code a category."""
    codes = dataset.items["category"].cast(pa.string()).combine_chunks().dictionary_encode().indices
    return codes.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)


def retriever(sources: Sequence[CandidateSource], *, blend: Blend | None) -> Retriever:
    """The sources merged by `blend`; without one by rank."""
    return Retriever(sources, quotas(sources), blend=blend)


def quotas(sources: Sequence[CandidateSource]) -> dict[str, Quota]:
    """What each source is asked for: a share of the places is sure to the towers."""
    return {
        source.name: Quota(ASK, sure=SURE_NEAREST if isinstance(source, TwoTowerSource) else 0) for source in sources
    }


def with_nearest(index: BuiltIndex, counting: CountingSources) -> list[CandidateSource]:
    """All sources of a run, in the order that the blend knows them."""
    return [TwoTowerSource(index), *counting.sources]
