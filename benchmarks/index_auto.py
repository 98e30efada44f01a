"""A million embeddings through `auto`: what it takes, what it finds of exact search, how quick it is, under filters.

NumPy's single query, one product of the whole matrix and a partial sort, is the yardstick. Recall is measured on
queries that the choice did not see.
"""

from __future__ import annotations

import os

# Before NumPy and FAISS read it: one core is what a service worker has.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import time

import numpy as np

from benchmarks.index import catalogue, timed
from benchmarks.record import Measure, record
from retrieval.build import BuiltIndex, build_index, recall
from retrieval.config import RetrievalConfig
from retrieval.exact import ExactIndex
from retrieval.index_choice import IndexTrial
from retrieval.stored_vectors import STORAGES, StoredVectors

NAME = "index_auto"
SEED = 0
ROWS, DIMENSIONS = 1_000_000, 64
QUERIES, FEW, K = 400, 50, 100
TARGET = 0.98
ALLOWED = (0.5, 0.05, 0.005, 0.0001)
NOTHING = np.empty(0, np.int32)


def main() -> None:
    items, queries = catalogue(np.random.default_rng(SEED), rows=ROWS, queries=256 + QUERIES)
    start = time.perf_counter()
    config = RetrievalConfig(index_recall=TARGET, gate=TARGET, gate_queries=256)
    built = build_index("auto", items, queries=queries[:256], config=config)
    seconds = time.perf_counter() - start
    for line in built.report.lines():
        print(line)
    fresh = queries[256:]
    measures = [
        *quickest_of_each(built.report.trials),
        *against_numpy(built, items, fresh),
        Measure("auto: all that it built and measured", seconds, "s"),
        *of_wrapper(built, fresh),
        *under_filters(built, fresh[:FEW]),
        *stored(items, fresh[:FEW]),
    ]
    record(NAME, measures, data=f"{ROWS} x {DIMENSIONS} unit vectors in 2000 clusters; {built.report}", seed=SEED)


def quickest_of_each(trials: tuple[IndexTrial, ...]) -> list[Measure]:
    """Of each kind and form, the quickest effort that reaches the target, or the best recall where none does."""
    forms: dict[str, list[IndexTrial]] = {}
    for trial in trials:
        forms.setdefault(f"{trial.kind} {trial.parameters.get('form', '')}".strip(), []).append(trial)
    rows = []
    for name, tried in forms.items():
        reaching = [trial for trial in tried if trial.recall >= TARGET]
        best = max(reaching or tried, key=lambda trial: trial.queries_per_second if reaching else trial.recall)
        effort = ", ".join(f"{key} {value}" for key, value in best.parameters.items() if key != "form")
        rows += [
            Measure(f"tried: {name}{f' ({effort})' if effort else ''}: recall@{K}", best.recall, "share of exact"),
            Measure(f"tried: {name}: rate", best.queries_per_second, "queries/s"),
            Measure(f"tried: {name}: files beside the embeddings", best.megabytes, "MB"),
            Measure(f"tried: {name}: build", best.build_seconds, "s"),
        ]
    return rows


def against_numpy(built: BuiltIndex, items: np.ndarray, queries: np.ndarray) -> list[Measure]:
    def by_numpy(query: np.ndarray) -> np.ndarray:
        scores = items @ query
        best = np.argpartition(scores, -K)[-K:]
        return best[np.argsort(-scores[best])]

    exact, _ = ExactIndex(items).search(queries, k=K)
    share = recall(built.index.search(queries, k=K)[0], exact, embeddings=items, queries=queries)
    plain = float(np.median(timed(by_numpy, queries[:FEW])))
    chosen = float(np.median(timed(lambda query: built.index.search(query[None], k=K), queries)))
    return [
        Measure(f"auto: recall@{K}", share, "share of exact", f">= {TARGET}"),
        Measure("auto: one query", chosen, "CPU ms"),
        Measure("NumPy: one query", plain, "CPU ms"),
        Measure("NumPy / auto", plain / chosen, "times", ">= 15"),
    ]


def of_wrapper(built: BuiltIndex, queries: np.ndarray) -> list[Measure]:
    """What this project's wrapper adds to ScaNN's own search of one query."""
    if built.report.kind != "scann":
        return []
    raw, effort = built.index._searcher, built.report.parameters  # type: ignore[attr-defined]
    leaves, factor = effort["leaves_to_search"], effort["reorder_factor"]
    both = [
        timed(lambda query: raw.search(query, K, factor * K, leaves), queries),
        timed(lambda query: built.index.search(query[None], k=K), queries),
    ]
    return [Measure("wrapper / ScaNN's own search", float(np.median(both[1]) / np.median(both[0])), "times", "<= 1.15")]


def under_filters(built: BuiltIndex, queries: np.ndarray) -> list[Measure]:
    rng, rows = np.random.default_rng(SEED), []
    for share in ALLOWED:
        allowed = rng.random(ROWS) < share
        inside = np.flatnonzero(allowed)
        k = min(K, len(inside))
        exact = inside[ExactIndex(built.embeddings[inside]).search(queries, k=k)[0]]
        answers = [built.nearest(query, k=k, allowed=allowed, exclude=NOTHING)[0] for query in queries]
        reached = recall(np.stack(answers), exact, embeddings=built.embeddings, queries=queries)
        times = timed(lambda query, of=allowed: built.nearest(query, k=K, allowed=of, exclude=NOTHING), queries)
        name = f"filter that allows {share:.2%} of the items"
        rows += [
            Measure(f"{name}: recall@{K}", reached, "share of exact", f">= {TARGET}"),
            Measure(f"{name}: one query", float(np.median(times)), "CPU ms"),
        ]
    return rows


def stored(items: np.ndarray, queries: np.ndarray) -> list[Measure]:
    """What exact search loses where its vectors are stored in less."""
    exact, _ = ExactIndex(items).search(queries, k=K)
    rows = []
    for storage in STORAGES:
        vectors = StoredVectors.of(items, storage=storage)
        index = ExactIndex(vectors)
        size = vectors.values.nbytes + (0 if vectors.scale is None else vectors.scale.nbytes)
        share = recall(index.search(queries, k=K)[0], exact, embeddings=items, queries=queries)
        times = timed(lambda query, of=index: of.search(query[None], k=K), queries)
        rows += [
            Measure(f"exact, stored as {storage}: recall@{K}", share, "share of exact"),
            Measure(f"exact, stored as {storage}: memory", size / 1e6, "MB"),
            Measure(f"exact, stored as {storage}: one query", float(np.median(times)), "CPU ms"),
        ]
    return rows


if __name__ == "__main__":
    main()
