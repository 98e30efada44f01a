"""Is the engine's ranking truly worth more than random, popularity and CTR-only rankings?

The simulated market knows the truth. A run is trained on its log; its bundle answers fresh requests of the week after
the log; random, popularity and CTR-only rank all the candidates that it considered (its shortlist is as long, so that
all are in the slate). All are judged by exact expectations on the same requests: GMV, and the value formula computed
from true probabilities.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from benchmarks.record import Measure, record
from jobs.config import RunConfig
from jobs.data import market
from jobs.defaults import policy_of
from jobs.run import run_all
from jobs.true_worth import true_worth
from marketplace.memory_log import MemoryLog
from marketplace.simulator import RequestBatch, Simulation, true_difference, true_value
from serving.bundle import build_engine, load_bundle
from serving.engine import RankingEngine
from serving.request import Request

SEED = 7
REQUESTS = 1_500
SHOWN = 10
METRICS = {"ctr": "", "cvr": "", "gmv_sar": "SAR / request", "value": "SAR / request"}


def main() -> None:
    run = run_all(RunConfig(seed=SEED), Path("runs/benchmark"))
    simulation = market("demo", seed=SEED)
    rng = np.random.default_rng(SEED)
    requests = simulation.draw_requests(rng, count=REQUESTS, window=(42, 49))
    bundle = load_bundle(run.path / "bundle")
    everything = replace(bundle, config=replace(bundle.config, shortlist=bundle.config.candidates))
    engine = build_engine(everything, log=MemoryLog())
    rankings, kept = answers(engine, simulation, requests, rng)
    requests = requests.take(kept)
    worth = true_worth(simulation, policy_of(simulation.dataset, run.config), requests)
    measures = []
    for name, ranked in rankings.items():
        estimates = true_value(simulation, ranked, rng=rng, requests=requests, value=worth)
        measures += [_measure(f"{name}: {metric}", estimates[metric], unit) for metric, unit in METRICS.items()]
    for name in ("random", "popularity", "CTR only"):
        gap = true_difference(simulation, rankings["engine"], rankings[name], rng=rng, requests=requests, value=worth)
        for metric in ("gmv_sar", "value"):
            measures.append(_measure(f"engine - {name}: {metric}", gap[metric], METRICS[metric]))
            low = Measure(f"engine - {name}: {metric}, low end", gap[metric].low, METRICS[metric], "> 0")
            measures.append(low)
    record("true_value", measures, data="simulator, demo size, week after the log", seed=SEED)


def answers(
    engine: RankingEngine, simulation: Simulation, requests: RequestBatch, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Ranked catalogue rows int32 [R, SHOWN] of each policy, and the requests (positions) that got an answer."""
    table = simulation.request_table(requests)
    rankings: dict[str, list[np.ndarray]] = {"random": [], "popularity": [], "CTR only": [], "engine": []}
    kept = []
    for place, row in enumerate(tqdm(table.to_pylist(), desc="requests", unit="request")):
        slate = engine.rank(request_of(row)).slate
        if len(slate) == 0:
            continue
        kept.append(place)
        rows = simulation.item_rows(pa.array(slate.item_id, pa.string()))
        scores = {
            "random": rng.random(len(slate)),
            "popularity": slate.numeric["popularity"],
            "CTR only": slate.predictions["ctr"],
            "engine": slate.value,
        }
        for name, score in scores.items():
            rankings[name].append(rows[np.argsort(-score, kind="stable")[:SHOWN]])
    return {name: padded(lists) for name, lists in rankings.items()}, np.array(kept)


def request_of(row: dict) -> Request:
    names = ("request_id", "time", "surface", "user_id", "session_id", "query", "page_merchant_id", "page_item_id")
    fields = {name: row[name] for name in names}
    return Request(**fields, context=dict(row["context"]), k=SHOWN)


def padded(lists: list[np.ndarray]) -> np.ndarray:
    padded = np.full((len(lists), SHOWN), -1, np.int32)
    for row, items in zip(padded, lists, strict=True):
        row[: len(items)] = items
    return padded


def _measure(name: str, estimate, unit: str) -> Measure:  # type: ignore[no-untyped-def]
    return Measure(name, estimate.value, unit, interval=(estimate.low, estimate.high))


if __name__ == "__main__":
    main()
