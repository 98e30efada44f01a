"""Is a ranking by incremental value worth more a coupon than one by sales? On a simulated market that knows the truth.

Half of the items shown in the log bear a coupon, by a fair draw. A run learns its heads from that log; its bundle
answers fresh requests of the week after under the shipped policy `incremental`; every item of the first SHOWN bears a
coupon. Beside it the same formula on sales, gmv in place of incremental_gmv, and the truth itself. All are judged by
the exact sales that the coupons add.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.stats import rankdata
from tqdm import tqdm

from benchmarks.record import Measure, record
from benchmarks.true_value import SHOWN, padded, request_of
from jobs.config import RunConfig
from jobs.data import market
from jobs.run import run_all
from marketplace.memory_log import MemoryLog
from marketplace.simulator import RequestBatch, Simulation
from marketplace.simulator.examination import examination_curve
from retrieval.config import RetrievalConfig
from serving.bundle import build_engine, load_bundle
from serving.engine import RankingEngine
from value_model.formula import evaluate, shipped_policy
from value_model.rankers.config import TrainingConfig, TreesConfig

SEED, REQUESTS = 7, 1_000
FIRST, TRUTH = "incremental value", "the truth"
POLICY = shipped_policy("incremental")
Worth = Callable[[Simulation, RequestBatch, np.ndarray], np.ndarray]


def main() -> None:
    config = RunConfig(
        size="coupons",
        seed=SEED,
        policy="incremental",
        retrieval=RetrievalConfig(epochs=4),
        training=TrainingConfig(epochs=2),
        trees=TreesConfig(trees=100, learning_rate=0.1),
    )
    run = run_all(config, Path("runs/benchmark-coupons"))
    simulation = market("coupons", seed=SEED)
    requests = simulation.draw_requests(np.random.default_rng(SEED), count=REQUESTS, window=(42, 49))
    bundle = load_bundle(run.path / "bundle")
    everything = replace(bundle, config=replace(bundle.config, shortlist=bundle.config.candidates))
    engine = build_engine(everything, log=MemoryLog())
    lists, kept, correlation = answers(engine, simulation, requests)
    requests = requests.take(kept)
    sales, worth = (
        {name: per_coupon(simulation, requests, ranked, of) for name, ranked in lists.items()} for of in (added, value)
    )
    all_candidates, within = correlation
    measures = [
        Measure("rank correlation of incremental_gmv with the truth, all candidates", all_candidates, "1"),
        Measure("rank correlation within a request, mean", within, "1"),
    ]
    unit = "SAR / 1,000 coupons shown"
    measures += [_measure(f"by {name}: sales that coupons add", gain, unit) for name, gain in sales.items()]
    for other in ("sales", "orders"):
        gap = sales[FIRST] - sales[other]
        measures.append(_measure(f"{FIRST} - {other}: sales that coupons add", gap, unit))
        measures.append(Measure(f"{FIRST} - {other}, low end", _interval(gap)[0], unit, "> 0"))
    share = worth[FIRST].mean() / worth[TRUTH].mean()
    measures.append(Measure("true value of the formula's order, over the best", float(share), "1", ">= 0.95"))
    record("coupons", measures, data="simulator, coupons size, week after the log", seed=SEED)


def answers(
    engine: RankingEngine, simulation: Simulation, requests: RequestBatch
) -> tuple[dict[str, np.ndarray], np.ndarray, tuple[float, float]]:
    """Ranked catalogue rows int32 [R, SHOWN] by order, the requests that got an answer, and rank correlations."""
    lists: dict[str, list[np.ndarray]] = {FIRST: [], "sales": [], "orders": [], TRUTH: []}
    kept, predicted, true, within = [], [], [], []
    for place, row in enumerate(tqdm(simulation.request_table(requests).to_pylist(), desc="requests", unit="request")):
        slate = engine.rank(request_of(row)).slate
        if len(slate) == 0:
            continue
        kept.append(place)
        rows = simulation.item_rows(pa.array(slate.item_id, pa.string()))
        one = requests.take(slice(place, place + 1))
        truth = added(simulation, one, rows[None, :])[0]
        heads = slate.predictions
        by_sales = {"incremental_gmv": heads["gmv"], "ctcvr_treated": heads["ctcvr_treated"]}
        scores = {
            FIRST: slate.value,
            "sales": evaluate(POLICY, by_sales),
            "orders": heads["ctcvr"],
            TRUTH: value(simulation, one, rows[None, :])[0],
        }
        for name, score in scores.items():
            lists[name].append(rows[np.argsort(-score, kind="stable")[:SHOWN]])
        predicted.append(heads["incremental_gmv"])
        true.append(truth)
        if len(truth) > SHOWN:
            within.append(_rank_correlation(heads["incremental_gmv"], truth))
    overall = _rank_correlation(np.concatenate(predicted), np.concatenate(true))
    return {name: padded(rows) for name, rows in lists.items()}, np.array(kept), (overall, float(np.mean(within)))


def added(simulation: Simulation, requests: RequestBatch, items: np.ndarray) -> np.ndarray:
    """float64 [R, C]: the sales that a coupon adds to an examined impression, SAR."""
    with_one, without = (
        simulation.respond(requests, items, coupon=np.full(items.shape, bears)) for bears in (True, False)
    )
    return with_one.attraction * (with_one.order - without.order) * with_one.order_value


def value(simulation: Simulation, requests: RequestBatch, items: np.ndarray) -> np.ndarray:
    """float64 [R, C]: the formula on the truth, SAR per examined impression."""
    treated = simulation.respond(requests, items, coupon=np.ones(items.shape, bool))
    columns = {
        "incremental_gmv": added(simulation, requests, items),
        "ctcvr_treated": treated.attraction * treated.order,
    }
    return evaluate(POLICY, columns)


def per_coupon(simulation: Simulation, requests: RequestBatch, ranked: np.ndarray, of: Worth) -> np.ndarray:
    """float64 [R]: what 1,000 coupons on the items of each list bring, looked at as lists are."""
    looks = examination_curve(positions=ranked.shape[1])[requests.surface]
    shown = ranked >= 0
    total = np.where(shown, looks * of(simulation, requests, ranked), 0.0).sum(axis=1)
    return 1000 * total / np.maximum(shown.sum(axis=1), 1)


def _rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's."""
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def _interval(values: np.ndarray) -> tuple[float, float]:
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def _measure(name: str, values: np.ndarray, unit: str) -> Measure:
    return Measure(name, float(values.mean()), unit, interval=_interval(values))


if __name__ == "__main__":
    main()
