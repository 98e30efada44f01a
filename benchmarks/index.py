"""Nearest-neighbour indexes at 100,000 x 64: recall@100 of exact search, and time per single query on one core."""

from __future__ import annotations

import os

# Before NumPy and FAISS read it: one core is what a service worker has.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import time

import numpy as np
import pyarrow as pa

from benchmarks.record import Measure, record
from features.interactions import Interactions
from marketplace.splits import DAY_US
from retrieval.blend import Blend
from retrieval.build import BuiltIndex, build_index
from retrieval.candidates import Query
from retrieval.filtered import filtered_search
from retrieval.retriever import Quota, Retriever
from retrieval.sources.affinity import Affinity
from retrieval.sources.covisits import CoVisits
from retrieval.sources.popularity import Popularity
from retrieval.sources.user_history import UserHistory

NAME = "index"
SEED = 0
ROWS, DIMENSIONS, CLUSTERS = 100_000, 64, 2_000
QUERIES, REPEATS, K = 500, 1_000, 100
NOTHING = np.empty(0, np.int32)


def main() -> None:
    rng = np.random.default_rng(SEED)
    items, queries = catalogue(rng)
    measures = []
    for kind in ("exact", "scann", "faiss"):
        start = time.perf_counter()
        built = build_index(kind, items, queries=queries[:QUERIES])
        measures += index_measures(kind, built, queries, seconds=time.perf_counter() - start, rng=rng)
    measures += retriever_measures(rng)
    data = f"{ROWS} x {DIMENSIONS} unit vectors in {CLUSTERS} clusters; simulated interactions"
    record(NAME, measures, data=data, seed=SEED)


def catalogue(rng: np.random.Generator, *, rows: int = ROWS, queries: int = REPEATS) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around cluster centres, and queries from the same distribution."""
    centres = rng.normal(size=(CLUSTERS, DIMENSIONS)).astype(np.float32)
    points = rng.standard_normal(size=(rows + queries, DIMENSIONS), dtype=np.float32)
    points += centres[rng.integers(CLUSTERS, size=rows + queries)]
    points /= np.sqrt(np.vecdot(points, points))[:, None]
    return points[:rows], points[rows:]


def index_measures(
    kind: str, built: BuiltIndex, queries: np.ndarray, *, seconds: float, rng: np.random.Generator
) -> list[Measure]:
    gate = f">= {built.report.gate}"
    rows = [
        Measure(f"{kind}: recall@{K}", built.report.recall, "share of exact", gate),
        Measure(f"{kind}: build, recall measured", seconds, "s"),
    ]
    for k in (K, 500):
        times = timed(lambda query, k=k: built.index.search(query[None], k=k), queries)
        rows += quantiles(f"{kind}: one query, top {k}", times)
    half = rng.random(ROWS) < 0.5
    times = timed(
        lambda query: filtered_search(built.index, built.embeddings, query, k=K, allowed=half, exclude=NOTHING), queries
    )
    return [*rows, *quantiles(f"{kind}: one query, top {K} of an allowed half", times)]


def retriever_measures(rng: np.random.Generator) -> list[Measure]:
    """500 of 100,000 candidates from four counting sources: everything but the index."""
    events = shopping(rng, rows=1_000_000)
    sources = [UserHistory(ROWS), Popularity(ROWS), CoVisits(ROWS), Affinity(rng.integers(300, size=ROWS))]
    for source in sources:
        source.update(events)
    quotas = {source.name: Quota(300) for source in sources}
    user = events.user.indices.to_numpy()
    allowed = rng.random(ROWS) < 0.9
    queries = [
        Query(f"user {u}", f"segment {u % 6}", events.item[user == u][-20:], allowed=allowed) for u in range(REPEATS)
    ]
    rows = []
    for name, blend in (("fused ranks", None), ("learned blend", Blend((1.0,) * len(sources)))):
        merged = Retriever(sources, quotas, blend=blend)
        merged.retrieve(queries[0], k=500)  # what is ranked once is ranked here
        times = timed(lambda query, merged=merged: merged.retrieve(query, k=500), queries)
        rows += quantiles(f"retriever without an index: 500 candidates, 4 sources, {name}", times)
    return rows


def shopping(rng: np.random.Generator, *, rows: int) -> Interactions:
    def names(codes: np.ndarray, prefix: str) -> pa.DictionaryArray:
        known = pa.array([f"{prefix} {code}" for code in range(int(codes.max()) + 1)])
        return pa.DictionaryArray.from_arrays(codes.astype(np.int32), known)

    user = rng.integers(20_000, size=rows)
    return Interactions(
        user=names(user, "user"),
        segment=names(user % 6, "segment"),
        session=names(user * 5 + rng.integers(5, size=rows), "session"),
        item=((rng.pareto(1.2, rows) * 500).astype(np.int64) % ROWS).astype(np.int32),
        time=rng.integers(0, 100 * DAY_US, size=rows),
        weight=np.ones(rows, np.float32),
        until=100 * DAY_US,
    )


def timed(call, arguments) -> np.ndarray:  # type: ignore[no-untyped-def]
    """CPU milliseconds of each call: other processes on the machine do not count."""
    times = np.empty(len(arguments))
    for place, argument in enumerate(arguments):
        start = time.thread_time()
        call(argument)
        times[place] = time.thread_time() - start
    return times * 1e3


def quantiles(name: str, times: np.ndarray) -> list[Measure]:
    return [Measure(f"{name}, p{p}", float(np.percentile(times, p)), "CPU ms") for p in (50, 99)]


if __name__ == "__main__":
    main()
