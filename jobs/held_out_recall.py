"""Recall of what was held out: sampled requests with positives, and how much of these is retrieved.

Recall is of all requests, of each surface's, and of cohorts such as `jobs.cohorts.newcomers`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evaluation import bootstrap
from evaluation.estimate import Estimate
from marketplace.slate_columns import to_numpy
from retrieval.candidates import Query
from retrieval.labelled_requests import LabelledRequests
from retrieval.retriever import Retriever
from retrieval.surface_retriever import SurfaceRetriever

FEWEST_OF_SURFACE = 100  # with positives, for a surface to have a blend of its own requests
RECALL_AT = (20, 100, 500)
RECALL = "recall.json"


@dataclass(frozen=True)
class RetrievalSample:
    """Requests (positions among the labelled) with positives, and their query embeddings float32 [q, d]."""

    labelled: LabelledRequests
    requests: np.ndarray
    embeddings: np.ndarray

    @property
    def slates(self) -> pa.Table:
        """The requests' rows [q]."""
        return self.labelled.slates.take(pa.array(self.requests))

    def text(self, column: str) -> np.ndarray:
        """str [q]: a column of the requests."""
        return to_numpy(self.labelled.slates[column].take(pa.array(self.requests)))

    def queries(self, surface: str | None = None) -> Iterable[Query]:
        """As they were made, or as if made on `surface`."""
        queries = (self.labelled.query(r, e) for r, e in zip(self.requests.tolist(), self.embeddings, strict=True))
        return queries if surface is None else (made_on(surface, query) for query in queries)

    def positives(self) -> list[np.ndarray]:
        return [self.labelled.positives(request) for request in self.requests.tolist()]


@dataclass(frozen=True)
class RetrievalRequests:
    """All labelled requests with their query embeddings float32 [R, d]; `most` of a surface fit its blend."""

    labelled: LabelledRequests
    embeddings: np.ndarray
    most: int

    def sample(self, period: np.ndarray, *, most: int) -> RetrievalSample:
        """Of those in the period (bool [R]) that have a positive, evenly spread over time, at most `most`."""
        some = self.labelled.with_positive(period)
        chosen = some[np.linspace(0, len(some) - 1, min(most, len(some))).astype(int)]
        return RetrievalSample(self.labelled, chosen, self.embeddings[chosen])

    def of_surface(self, surface: str, period: np.ndarray) -> RetrievalSample:
        """Of the surface's in the period; of every surface's where it has too few."""
        among = pc.equal(self.labelled.slates["surface"].cast(pa.string()), surface).to_numpy()
        sample = self.sample(period & among, most=self.most)
        return sample if len(sample.requests) >= FEWEST_OF_SURFACE else self.sample(period, most=self.most)


def made_on(surface: str, query: Query) -> Query:
    """The query as if made on `surface`; a product page is then that of the item touched last, where there is one."""
    if query.surface == surface:
        return query
    if surface == "product_page" and len(query.history):
        return query.on_page_of(int(query.history[-1]))
    return replace(query, surface=surface)


def held_out_recall(
    retriever: SurfaceRetriever | Retriever,
    sample: RetrievalSample,
    *,
    cohorts: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Estimate]:
    """Means of `request_recall`."""
    return mean_recall(request_recall(retriever, sample, cohorts=cohorts), sample)


def request_recall(
    retriever: SurfaceRetriever | Retriever,
    sample: RetrievalSample,
    *,
    cohorts: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """recall@k = hits / min(k, number of positives), float64 [q] a name, NaN where a request does not count.

    Of all, "SURFACE recall@k" of a surface's requests, and "COHORT recall@k" of the positives among a cohort's rows
    (bool [N]).
    """
    labelled = sample.labelled
    counted = {"": np.ones(len(labelled.item), bool)} | dict(cohorts or {})
    hits = {name: np.full((len(sample.requests), len(RECALL_AT)), np.nan) for name in counted}
    for place, (query, request) in enumerate(zip(sample.queries(), sample.requests.tolist(), strict=True)):
        items = retriever.retrieve(query, k=max(RECALL_AT)).items
        for name, rows in counted.items():
            positives = labelled.positives(request, among=rows)
            if len(positives):
                hits[name][place] = [np.isin(positives, items[:k]).sum() / min(k, len(positives)) for k in RECALL_AT]
    surface, overall = sample.text("surface"), hits.pop("")
    parts = {name: np.where((surface == name)[:, None], overall, np.nan) for name in np.unique(surface).tolist()}
    columns = {"": overall} | {f"{name} ": part for name, part in parts.items() if len(parts) > 1}
    columns |= {f"{name} ": part for name, part in hits.items() if np.isfinite(part).any()}
    return {f"{name}recall@{k}": part[:, at] for name, part in columns.items() for at, k in enumerate(RECALL_AT)}


def mean_recall(recall: Mapping[str, np.ndarray], sample: RetrievalSample, *, seed: int = 0) -> dict[str, Estimate]:
    """The mean of each over the requests that count, intervals over shoppers."""
    samples = bootstrap.resample(len(sample.requests), np.random.default_rng(seed), shopper=sample.text("user_id"))
    means = bootstrap.means(np.column_stack(list(recall.values())), samples)
    return {name: mean.estimate() for name, mean in zip(recall, means, strict=True)}


def kept_recall(folder: Path) -> dict[str, Estimate]:
    """What `train_retrieval` wrote in retrieval/, nothing where nothing was recorded."""
    path = folder / RECALL
    return {name: Estimate(**share) for name, share in json.loads(path.read_text()).items()} if path.exists() else {}


def recall_lines(recall: Mapping[str, Estimate], *, goal: str) -> Iterator[str]:
    """One line of all requests, and one a surface."""
    surfaces = dict.fromkeys(name.rpartition(" ")[0] for name in recall)
    for surface in surfaces:
        parts = {name.rpartition(" ")[2]: share for name, share in recall.items() if name.rpartition(" ")[0] == surface}
        where = f", {surface}" if surface else ", merged sources"
        yield f"held-out {goal}s{where}: " + ", ".join(f"{name} {share}" for name, share in parts.items())
