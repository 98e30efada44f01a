"""Train what proposes candidates: the two towers, their index, the candidate sources, and the blend of them all.

Every part is judged on a later time than it learned from: the towers stop early on the validation period's positives,
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
from marketplace.splits import Periods, periods
from retrieval.blend import Blend, fit_blend
from retrieval.build import BuiltIndex, build_index, save_index
from retrieval.candidates import Query
from retrieval.config import RetrievalConfig
from retrieval.labelled_requests import LabelledRequests, labelled_requests
from retrieval.pairs import ItemInputs, Pairs, item_inputs, pairs
from retrieval.retriever import Retriever
from retrieval.sources.run_sources import RunSources
from retrieval.tower_training import fit
from retrieval.two_tower import TwoTower

MIN_COUNT = 3  # a name seen less often shares the embedding of the unknown
BLEND_QUERIES = 1500  # requests of the validation period that the blend is fitted on
TEST_QUERIES = 2000  # requests of the test period that recall is measured on
RECALL_AT = (20, 100, 500)


@dataclass(frozen=True)
class RetrievalSample:
    """Requests (positions among the labelled) that ordered something, and their query embeddings float32 [q, d]."""

    labelled: LabelledRequests
    requests: np.ndarray
    embeddings: np.ndarray

    def queries(self) -> Iterable[Query]:
        return (self.labelled.query(r, e) for r, e in zip(self.requests.tolist(), self.embeddings, strict=True))

    def positives(self) -> list[np.ndarray]:
        return [self.labelled.positives(request) for request in self.requests.tolist()]


def train_retrieval(run: RunFolder) -> None:
    """Write retrieval/: encoder, towers, index, blend, and recall of held-out orders."""
    dataset, config, folder = kept(run.path), run.config, run.part("retrieval")
    (folder / CANDIDATES).unlink(missing_ok=True)
    labelled = labelled_requests(dataset, spec_of(dataset, config), segment=dataset.segment)
    period = periods(labelled.slates, test_share=config.test_share, validation_share=config.validation_share)
    rng = np.random.default_rng(config.seed)
    encoder = Encoder.fit(labelled.frame, requests=period.train, min_count=MIN_COUNT)
    (folder / "encoder.json").write_text(encoder.to_json())
    items = item_inputs(labelled.catalogue, encoder)
    positives = pairs(encoder.encode(labelled.frame), item=labelled.item, weight=labelled.weight)
    towers = _fit_towers(run, encoder, positives, items, period, rng)
    queries = towers.embed_queries(positives.user_codes, positives.user_lists, positives.user_numbers)
    with_order = queries[_with_order(labelled, period.validation)]
    index = build_index(config.index, towers.embed_items(items), queries=with_order)
    save_index(index, folder / "index", item_ids=dataset.items["item_id"].to_pylist())
    print(f"   {index.report.kind} index: recall@{index.report.k} of exact search {index.report.recall:.3f}")
    blend = _fit_blend(dataset, index, period, _sample(labelled, queries, period.validation, most=BLEND_QUERIES))
    blend.save(folder / "blend.json")
    sources = RunSources(dataset, segment=dataset.segment, index=index).advance(period.test_from)
    test = _sample(labelled, queries, period.test, most=TEST_QUERIES)
    recall = held_out_recall(sources.retriever(blend=blend), test)
    (folder / "recall.json").write_text(json.dumps({name: asdict(share) for name, share in recall.items()}, indent=1))
    print("   held-out orders, merged sources: " + ", ".join(f"{name} {share}" for name, share in recall.items()))


def _fit_towers(
    run: RunFolder, encoder: Encoder, positives: Pairs, items: ItemInputs, period: Periods, rng: np.random.Generator
) -> TwoTower:
    config = replace(RetrievalConfig(), epochs=run.config.retrieval_epochs)
    towers = TwoTower(encoder.spec, encoder.sizes, config=config, rng=rng)
    train = np.flatnonzero(period.train[positives.request])[-run.config.retrieval_pairs :]
    held_out = positives.select(period.validation[positives.request])
    checkpoint = run.part("retrieval") / "checkpoint"
    fit(towers, positives.select(train), held_out, items, rng=rng, checkpoint=checkpoint)
    towers.save_towers(run.part("retrieval"))
    shutil.rmtree(checkpoint)  # it resumes an interrupted fit; one that is asked for again starts anew
    return towers


def _with_order(labelled: LabelledRequests, requests: np.ndarray) -> np.ndarray:
    """The requests (positions) among `requests` (bool [R]) that ordered something."""
    ordered = np.zeros(len(requests), bool)
    ordered[labelled.frame.request[(labelled.weight >= EVENT_WEIGHTS["order"]) & (labelled.item >= 0)]] = True
    return np.flatnonzero(ordered & requests)


def _sample(labelled: LabelledRequests, queries: np.ndarray, requests: np.ndarray, *, most: int) -> RetrievalSample:
    """Evenly spread over time, at most `most`."""
    ordered = _with_order(labelled, requests)
    chosen = ordered[np.linspace(0, len(ordered) - 1, min(most, len(ordered))).astype(int)]
    return RetrievalSample(labelled, chosen, queries[chosen])


def _fit_blend(dataset: Dataset, index: BuiltIndex, period: Periods, sample: RetrievalSample) -> Blend:
    """On sources that know only what came before the sample's period."""
    early = RunSources(dataset, segment=dataset.segment, index=index).advance(period.validation_from)
    unblended = early.retriever(blend=None)
    pools = [unblended.pool(query, k=max(RECALL_AT)) for query in sample.queries()]
    return fit_blend(pools, sample.positives())


def held_out_recall(retriever: Retriever, sample: RetrievalSample, *, seed: int = 0) -> dict[str, Estimate]:
    """recall@k = hits / min(k, number of positives), mean over requests that ordered something."""
    hits = np.zeros((len(sample.requests), len(RECALL_AT)))
    for place, (query, positives) in enumerate(zip(sample.queries(), sample.positives(), strict=True)):
        items = retriever.retrieve(query, k=max(RECALL_AT)).items
        for column, k in enumerate(RECALL_AT):
            hits[place, column] = np.isin(positives, items[:k]).sum() / min(k, len(positives))
    counts = bootstrap.resample(len(hits), np.random.default_rng(seed))
    means = bootstrap.means(hits, counts)
    return {f"recall@{k}": mean.estimate() for k, mean in zip(RECALL_AT, means, strict=True)}
