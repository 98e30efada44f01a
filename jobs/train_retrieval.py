"""Train what proposes candidates: the two towers, their index, the counting sources, and the blend of them all.

Every part is judged on a later time than it learned from: the towers stop early on the validation period's wishes,
the blend is fitted there on sources that know only what came before it, and the test period is seen by nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

import numpy as np

from evaluation import bootstrap
from evaluation.estimate import Estimate
from features.encoder import Encoder
from features.interactions import EVENT_WEIGHTS
from jobs.data import kept
from jobs.defaults import spec_of
from jobs.prepare import CANDIDATES
from jobs.run_folder import RunFolder
from marketplace.dataset import Dataset
from marketplace.periods import Periods, periods
from retrieval.blend import Blend, fit_blend
from retrieval.build import BuiltIndex, build_index, save_index
from retrieval.config import RetrievalConfig
from retrieval.labelled_requests import LabelledRequests, labelled_requests
from retrieval.pairs import ItemInputs, Pairs, item_inputs, pairs
from retrieval.retriever import Retriever
from retrieval.source import Query
from retrieval.sources import CountingSources, retriever, with_nearest
from retrieval.tower_training import fit
from retrieval.two_tower import TwoTower

MIN_COUNT = 3  # a name seen less often shares the embedding of the unknown
BLEND_QUERIES = 1500  # requests of the validation period that the blend is fitted on
TEST_QUERIES = 2000  # requests of the test period that recall is measured on
RECALL_AT = (20, 100, 500)


@dataclass(frozen=True)
class RetrievalSample:
    """Requests (rows of Wishes) that ordered something, and their query embeddings float32 [q, d]."""

    wishes: LabelledRequests
    requests: np.ndarray
    embeddings: np.ndarray

    def queries(self) -> Iterable[Query]:
        return (self.wishes.query(r, e) for r, e in zip(self.requests.tolist(), self.embeddings, strict=True))

    def wanted(self) -> list[np.ndarray]:
        return [self.wishes.wanted(request) for request in self.requests.tolist()]


def train_retrieval(run: RunFolder) -> None:
    """Write retrieval/: encoder, towers, index, blend, and recall of held-out orders."""
    dataset, config, folder = kept(run.path), run.config, run.part("retrieval")
    (folder / CANDIDATES).unlink(missing_ok=True)
    asked = labelled_requests(dataset, spec_of(dataset, config), segment=dataset.segment)
    period = periods(asked.slates, test_share=config.test_share, validation_share=config.validation_share)
    rng = np.random.default_rng(config.seed)
    encoder = Encoder.fit(asked.frame, requests=period.train, min_count=MIN_COUNT)
    (folder / "encoder.json").write_text(encoder.to_json())
    items = item_inputs(asked.catalogue, encoder)
    wanted = pairs(encoder.encode(asked.frame), item=asked.item, weight=asked.weight)
    towers = _fit_towers(run, encoder, wanted, items, period, rng)
    queries = _embed(towers, wanted, np.arange(len(asked.slates)))
    index = build_index(config.index, towers.embed_items(items), queries=queries[_orders(asked, period.validation)])
    save_index(index, folder / "index", item_ids=dataset.items["item_id"].to_pylist())
    print(f"   {index.report.kind} index: recall@{index.report.k} of exact search {index.report.recall:.3f}")
    blend = _fit_blend(dataset, asked, queries, period, index)
    blend.save(folder / "blend.json")
    counting = CountingSources(dataset, segment=dataset.segment).advance(period.test_from)
    merged = retriever(with_nearest(index, counting), blend=blend)
    recall = held_out_recall(merged, _some(asked, queries, period.test, TEST_QUERIES))
    (folder / "recall.json").write_text(json.dumps({name: asdict(found) for name, found in recall.items()}, indent=1))
    print("   held-out orders, merged sources: " + ", ".join(f"{name} {found}" for name, found in recall.items()))


def _fit_towers(
    run: RunFolder, encoder: Encoder, wanted: Pairs, items: ItemInputs, period: Periods, rng: np.random.Generator
) -> TwoTower:
    config = replace(RetrievalConfig(), epochs=run.config.retrieval_epochs)
    towers = TwoTower(encoder.spec, encoder.sizes, config=config, rng=rng)
    train = np.flatnonzero(period.train[wanted.request])[-run.config.retrieval_pairs :]
    held_out = wanted.select(period.validation[wanted.request])
    checkpoint = run.part("retrieval") / "checkpoint"
    fit(towers, wanted.select(train), held_out, items, rng=rng, checkpoint=checkpoint)
    towers.save_towers(run.part("retrieval"))
    shutil.rmtree(checkpoint)  # it resumes an interrupted fit; one that is asked for again starts anew
    return towers


def _embed(towers: TwoTower, wanted: Pairs, requests: np.ndarray) -> np.ndarray:
    return towers.embed_queries(wanted.user_codes[requests], wanted.user_lists[requests], wanted.user_numbers[requests])


def _orders(asked: LabelledRequests, requests: np.ndarray) -> np.ndarray:
    """The requests (positions) among `requests` (bool [R]) that ordered something."""
    ordered = np.zeros(len(requests), bool)
    ordered[asked.frame.request[(asked.weight >= EVENT_WEIGHTS["order"]) & (asked.item >= 0)]] = True
    return np.flatnonzero(ordered & requests)


def _some(asked: LabelledRequests, queries: np.ndarray, requests: np.ndarray, most: int) -> RetrievalSample:
    """Evenly spread over time, at most `most`."""
    ordered = _orders(asked, requests)
    chosen = ordered[np.linspace(0, len(ordered) - 1, min(most, len(ordered))).astype(int)]
    return RetrievalSample(asked, chosen, queries[chosen])


def _fit_blend(
    dataset: Dataset, asked: LabelledRequests, queries: np.ndarray, period: Periods, index: BuiltIndex
) -> Blend:
    early = CountingSources(dataset, segment=dataset.segment).advance(period.validation_from)
    unblended = retriever(with_nearest(index, early), blend=None)
    sample = _some(asked, queries, period.validation, BLEND_QUERIES)
    pools = [unblended.pool(query, k=max(RECALL_AT)) for query in sample.queries()]
    return fit_blend(pools, sample.wanted())


def held_out_recall(merged: Retriever, asked: RetrievalSample, *, seed: int = 0) -> dict[str, Estimate]:
    """recall@k = hits / min(k, number wanted), mean over requests that ordered something."""
    hits = np.zeros((len(asked.requests), len(RECALL_AT)))
    for place, (query, wanted) in enumerate(zip(asked.queries(), asked.wanted(), strict=True)):
        found = merged.retrieve(query, k=max(RECALL_AT)).items
        for column, k in enumerate(RECALL_AT):
            hits[place, column] = np.isin(wanted, found[:k]).sum() / min(k, len(wanted))
    counts = bootstrap.resample(len(hits), np.random.default_rng(seed))
    means = bootstrap.means(hits, counts)
    return {f"recall@{k}": mean.estimate() for k, mean in zip(RECALL_AT, means, strict=True)}
