"""How long do features take: a million impressions as of their time, and one request of 500 candidates online?

Beside them the same statistic by pandas (merge_asof of running counts), and the same request by backfill and encoding.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from benchmarks.record import Measure, record
from features.asof import Timeline
from features.backfill import backfill
from features.definitions import standard_spec
from features.encoder import Encoder
from features.item_columns import catalogue_columns
from features.store import MemoryStore
from marketplace.simulator import SimulatorConfig, simulate
from marketplace.slate import table_to_slates

SEED = 0
EVENTS, QUERIES, GROUPS = 5_000_000, 1_000_000, 100_000
CANDIDATES, REQUESTS = 500, 500


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def statistics(rng: np.random.Generator) -> list[Measure]:
    """Counts of 5 M events as of 1 M moments, by timeline and by pandas; they must agree."""
    group, groups = rng.integers(0, GROUPS, EVENTS), rng.integers(0, GROUPS, QUERIES)
    time_of, now = np.sort(rng.integers(0, 10**13, EVENTS)), np.sort(rng.integers(0, 10**13, QUERIES))
    counts: dict[str, np.ndarray] = {}

    def timeline() -> None:
        counts["ours"] = Timeline(group, time_of).before(groups, now).count

    def pandas() -> None:
        events = pd.DataFrame({"group": group, "time": time_of})
        events["count"] = events.groupby("group").cumcount() + 1
        queries = pd.DataFrame({"group": groups, "time": now})
        joined = pd.merge_asof(queries, events, on="time", by="group", allow_exact_matches=False)
        counts["theirs"] = joined["count"].fillna(0).to_numpy()

    measures = [
        Measure("as-of counts, 5 M events x 1 M moments: timeline", seconds(timeline), "s", "<= 10"),
        Measure("as-of counts, 5 M events x 1 M moments: pandas merge_asof", seconds(pandas), "s"),
    ]
    differ = int((counts["ours"] != counts["theirs"]).sum())
    return [*measures, Measure("moments at which the two differ", differ, "moments", "<= 0")]


def market(rng: np.random.Generator) -> list[Measure]:
    """Backfill of a simulated market, then requests of random candidates through the online store."""
    data = simulate(SimulatorConfig.large(), rng).dataset
    spec = standard_spec()
    start = time.perf_counter()
    frame = backfill(data, data.slates, spec=spec)
    filled = time.perf_counter()
    encoder = Encoder.fit(frame, min_count=2)
    encoder.encode(frame)
    encoded = time.perf_counter()
    store = MemoryStore.of(data, spec=spec)
    primed = time.perf_counter()
    items = encoder.encode_items(catalogue_columns(store.catalogue, spec))
    slates = table_to_slates(data.slates.slice(len(data.slates) - REQUESTS))
    rows = [rng.integers(0, len(store.catalogue), CANDIDATES).astype(np.int32) for _ in slates]
    store.lookup(slates[0], rows[0]).inputs(encoder, items)  # warm
    took = [
        1e3 * seconds(lambda s=slate, r=candidates: store.lookup(s, r).inputs(encoder, items))
        for slate, candidates in zip(slates, rows, strict=True)
    ]
    one = data.slates.slice(len(data.slates) - 1)
    return [
        Measure("impressions backfilled", float(frame.offsets[-1]), "impressions", ">= 1000000"),
        Measure("backfill", filled - start, "s"),
        Measure("learning vocabularies and encoding them", encoded - filled, "s"),
        Measure("priming the online store from the same data", primed - encoded, "s"),
        Measure("one request, 500 candidates: store to model inputs, p50", float(np.median(took)), "ms", "<= 1.5"),
        Measure("one request, 500 candidates: store to model inputs, p99", float(np.quantile(took, 0.99)), "ms"),
        Measure("one request by backfill and encoding", 1e3 * seconds(lambda: _slow(data, one, encoder)), "ms"),
    ]


def _slow(data, slates, encoder: Encoder) -> None:
    encoder.encode(backfill(data, slates, spec=encoder.spec))


def main() -> None:
    rng = np.random.default_rng(SEED)
    record("features", [*statistics(rng), *market(rng)], data="simulated market, large", seed=SEED)


if __name__ == "__main__":
    main()
