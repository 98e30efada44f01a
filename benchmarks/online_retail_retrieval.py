"""Online Retail, the last month: are the products that a known customer buys among the merged sources' candidates?

The sources are those that a run of this data has, without towers; their blend is learned on the month before, on what
they knew before that. Peers are fitted on everything before the last month. recall@k = hits / min(k, number bought),
NDCG@10 with gain 1 for what is bought; means over customers, intervals over customers.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from benchmarks.complete_journey_retrieval import Households, active
from benchmarks.peers import peers
from benchmarks.record import Measure, record, skip
from evaluation import bootstrap
from features.interactions import Interactions, interactions
from jobs.data import data_root, with_visits
from marketplace.dataset import Dataset
from marketplace.datasets.readers import READERS
from marketplace.splits import SECOND
from retrieval.blend import fit_blend
from retrieval.candidates import Query
from retrieval.sources.run_sources import RunSources

NAME = "online_retail_retrieval"
SEED = 0
K, DEEP = 10, 100


def moment(year: int, month: int, day: int) -> int:
    """UTC microseconds."""
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * SECOND


class LastMonth(NamedTuple):
    """UTC microseconds: the blend is learned from `blend` on, judged from `test` to `end`."""

    blend: int
    test: int
    end: int


LAST_MONTH = LastMonth(moment(2011, 10, 9), moment(2011, 11, 9), moment(2011, 12, 10))


def main() -> None:
    compare(NAME, "online-retail", LAST_MONTH)


def compare(name: str, data: str, moments: LastMonth) -> None:
    """Record the merged sources beside the peers on a data set of purchases; skipped where it is not there."""
    try:
        dataset = with_visits(READERS[data].read(data_root()))
    except FileNotFoundError as error:
        skip(name, str(error))
    sources = RunSources(dataset, segment=dataset.segment, index=None).advance(moments.blend)
    plain = sources.retriever(blends={})["home"]
    fitting = cases(dataset, moments.blend, moments.test)
    blend = fit_blend([plain.pool(query, k=DEEP) for query, _ in fitting], [positives for _, positives in fitting])
    weights = dict(zip(plain.scoring, blend.weights, strict=True))
    print("blend: " + ", ".join(f"{source} {weight:.2f}" for source, weight in weights.items()))
    merged = sources.advance(moments.test).retriever(blends={"home": weights})
    test = cases(dataset, moments.test, moments.end)
    models = {"merged sources": merged["home"]}
    past = bought(dataset, None, moments.test)
    models |= {peer.name: peer for peer in peers(past, n_items=len(dataset.items))}  # type: ignore[misc]
    tables = {model: np.array([judged(models[model], *case) for case in test]) for model in models}
    record(name, list(measures(tables)), data=f"{dataset.name}, {len(test):,} customers", seed=SEED)


def bought(dataset: Dataset, since: int | None, until: int) -> Interactions:
    return interactions(dataset.feedback, item_ids=dataset.items["item_id"], since=since, until=until)


def cases(dataset: Dataset, since: int, until: int) -> list[tuple[Query, np.ndarray]]:
    """Of each customer known before `since` who buys after: the query, and what they buy of the items known then."""
    past, future = bought(dataset, None, since), bought(dataset, since, until)
    country = dict(zip(*(dataset.users[name].to_pylist() for name in ("user_id", "country")), strict=True))
    customers: Households = active(past, future, n_items=len(dataset.items))
    rows = zip(customers.names, customers.history, customers.positives, strict=True)
    return [(Query(name, country[name] or "", history, time=since), positives) for name, history, positives in rows]


def judged(model, query: Query, positives: np.ndarray) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """(recall@DEEP, NDCG@K)."""
    hit = np.isin(model.retrieve(query, k=DEEP).items, positives)
    gain = 1 / np.log2(np.arange(2, K + 2))
    ideal = gain[: min(K, len(positives))].sum()
    return hit.sum() / min(DEEP, len(positives)), float((gain[: len(hit[:K])] * hit[:K]).sum() / ideal)


def measures(tables: dict[str, np.ndarray]) -> Iterator[Measure]:
    best = [
        max(table[:, column].mean() for name, table in tables.items() if name != "merged sources") for column in (0, 1)
    ]
    counts = bootstrap.resample(len(tables["merged sources"]), np.random.default_rng(SEED))
    for name, table in tables.items():
        for column, metric in enumerate((f"recall@{DEEP}", f"NDCG@{K}")):
            mean = bootstrap.means(table, counts)[column].estimate()
            bar = f"> {best[column]:.4f}" if name == "merged sources" else None
            yield Measure(f"{metric}, {name}", mean.value, "share", bar, (mean.low, mean.high))


if __name__ == "__main__":
    main()
