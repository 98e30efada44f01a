"""1,000 upserts a second while searching: are they seen, does recall hold, and what does a search cost meanwhile?

Half of the upserts are new items, half move known ones. The index is built anew in the background whenever a
twentieth of its rows have moved.
"""

from __future__ import annotations

import os

# Before NumPy and FAISS read it: one core is what a service worker has.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import time
from dataclasses import replace

import numpy as np

from benchmarks.index import catalogue
from benchmarks.record import Measure, record
from retrieval.build import build_index
from retrieval.config import RetrievalConfig
from retrieval.moving_index import MovingIndex

NAME = "moving_index"
SEED = 0
ROWS, K = 100_000, 100
A_SECOND, BATCH = 1_000, 50  # upserts
SECONDS = 180
NOTHING = np.empty(0, np.int32)


def main() -> None:
    rng = np.random.default_rng(SEED)
    room = A_SECOND * SECONDS // 2
    points, queries = catalogue(rng, rows=ROWS + 2 * room, queries=1_000)
    built = build_index("scann", points[:ROWS], queries=queries, config=replace(RetrievalConfig(), watch_every=0))
    index = MovingIndex(built, room=room)
    moved = np.stack([np.arange(ROWS, ROWS + room), rng.choice(ROWS, room, replace=room > ROWS)], axis=1).ravel()
    before = recall_now(index, queries[:100])
    errors, unseen, searches, writes, recalls = 0, 0, [], [], []
    start = time.perf_counter()
    for batch, first in enumerate(range(0, 2 * room, BATCH)):
        while time.perf_counter() - start < first / A_SECOND:
            query = queries[len(searches) % len(queries)]
            began = time.perf_counter()
            try:
                index.nearest(query, k=K, allowed=None, exclude=NOTHING)
            except Exception as error:  # what a service would answer with 500
                errors += 1
                print(f"error: {error}")
            searches.append(time.perf_counter() - began)
        rows, places = moved[first : first + BATCH], points[ROWS + first : ROWS + first + BATCH]
        began = time.perf_counter()
        index.move(rows, places)
        seen = index.nearest(places[-1], k=1, allowed=None, exclude=NOTHING)[0][0] == rows[-1]
        writes.append(time.perf_counter() - began)
        unseen += not seen
        if batch % 100 == 0:
            recalls.append(recall_now(index, queries[:20]))
    elapsed = time.perf_counter() - start
    index.wait()
    after = recall_now(index, queries[:100])
    measures = [
        Measure("upserts", 2 * room / elapsed, "a second", f">= {0.9 * A_SECOND:.0f}"),
        Measure("upserts not seen by the next search", unseen, "of every 50th", "<= 0"),
        Measure("from write to seen, p99", float(np.percentile(writes, 99)) * 1e3, "ms", "<= 1000"),
        Measure("errors", errors, "", "<= 0"),
        Measure("indexes built anew and swapped in", index.rebuilds, "", ">= 1"),
        Measure(f"recall@{K} before", before, "share of exact"),
        Measure(f"recall@{K} meanwhile, least", min(recalls), "share of exact", f">= {built.report.gate}"),
        Measure(f"recall@{K} after", after, "share of exact", f">= {built.report.gate}"),
        Measure("searches meanwhile", len(searches) / elapsed, "a second"),
        Measure("one search meanwhile, p50", float(np.median(searches)) * 1e3, "ms"),
        Measure("one search meanwhile, p99", float(np.percentile(searches, 99)) * 1e3, "ms"),
    ]
    record(NAME, measures, data=f"{ROWS} x 64 unit vectors, {SECONDS} s", seed=SEED)


def recall_now(index: MovingIndex, queries: np.ndarray) -> float:
    """Recall@K of the moving index against the product of every row as it is."""
    shares = []
    for query in queries:
        last = np.partition(index.embeddings.products(query), -K)[-K]
        products = index.nearest(query, k=K, allowed=None, exclude=NOTHING)[1]
        shares.append(np.count_nonzero(products >= last - 1e-5) / K)
    return float(np.mean(shares))


if __name__ == "__main__":
    main()
