"""The candidate sources of a run, and the retriever that merges them."""

from __future__ import annotations

from jobs.wishes import segment_of_feedback
from marketplace.dataset import Dataset
from retrieval.blend import Blend
from retrieval.build import BuiltIndex
from retrieval.covisits import CoVisits
from retrieval.interactions import interactions
from retrieval.nearest import Nearest
from retrieval.popularity import Popularity
from retrieval.repeats import Repeats
from retrieval.retriever import Quota, Retriever
from retrieval.source import CandidateSource

ASK = 300  # items that each source proposes
SURE_NEAREST = 50  # of the candidates: the towers' best, which alone know new items


def counting_sources(dataset: Dataset, *, until: int, segment: str) -> list[CandidateSource]:
    """Popularity by segment, the user's own repeats and co-visits, from the feedback before `until` (microseconds)."""
    events = interactions(
        dataset.feedback,
        item_ids=dataset.items["item_id"],
        until=until,
        segment=segment_of_feedback(dataset, segment),
    )
    n_items = len(dataset.items)
    sources = [Popularity(n_items), Repeats(n_items), CoVisits(n_items)]
    for source in sources:
        source.update(events)
    return list(sources)


def retriever(index: BuiltIndex, counting: list[CandidateSource], *, blend: Blend | None) -> Retriever:
    """Nearest neighbours and the counting sources, merged by `blend`; without one by rank."""
    sources = [Nearest(index), *counting]
    quotas = {source.name: Quota(ask=ASK) for source in sources} | {"nearest": Quota(ask=ASK, sure=SURE_NEAREST)}
    return Retriever(sources, quotas, blend=blend)
