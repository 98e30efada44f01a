"""The candidate sources of a run, and the retriever that merges them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from jobs.wishes import segment_of_feedback
from marketplace.dataset import Dataset
from retrieval.affinity import Affinity
from retrieval.blend import Blend, ScoringSource
from retrieval.build import BuiltIndex
from retrieval.covisits import CoVisits
from retrieval.interactions import Interactions, interactions
from retrieval.nearest import Nearest
from retrieval.popularity import Popularity
from retrieval.repeats import Repeats
from retrieval.retriever import Quota, Retriever
from retrieval.source import CandidateSource

ASK = 300  # items that each source proposes
SURE_NEAREST = 50  # of the candidates: the towers' best, which alone know new items


class Learning(ScoringSource, Protocol):
    """A source that learns from interactions."""

    def update(self, events: Interactions) -> None: ...


class Counting:
    """The sources that learn by counting, and can be advanced: popularity by segment, the shopper's own repeats, and
    co-visits where lists were recorded, or the shopper's categories where only purchases were: a basket of a weekly
    shopping trip goes together by habit, not by intent."""

    def __init__(self, dataset: Dataset, *, segment: str) -> None:
        self._dataset = dataset
        self._segment = segment_of_feedback(dataset, segment)
        n_items = len(dataset.items)
        self._learning: list[Learning] = [Popularity(n_items), Repeats(n_items)]
        self._learning.append(CoVisits(n_items) if dataset.has_impressions else Affinity(categories(dataset)))
        self._until: int | None = None

    def advance(self, until: int) -> Counting:
        """Learn what happened before `until` (UTC microseconds); time only goes on."""
        events = self._events(until)
        for source in self._learning:
            source.update(events)
        self._until = until
        return self

    @property
    def sources(self) -> list[CandidateSource]:
        return list(self._learning)

    def _events(self, until: int) -> Interactions:
        items = self._dataset.items["item_id"]
        return interactions(
            self._dataset.feedback, item_ids=items, since=self._until, until=until, segment=self._segment
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
    return {source.name: Quota(ASK, sure=SURE_NEAREST if isinstance(source, Nearest) else 0) for source in sources}


def with_nearest(index: BuiltIndex, counting: Counting) -> list[CandidateSource]:
    """All sources of a run, in the order that the blend knows them."""
    return [Nearest(index), *counting.sources]
