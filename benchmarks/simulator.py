"""How fast is the simulated market, and do its true values tell rankings apart?

Speed: 1 M impressions; the probabilities of pairs in one batch, against the same code one request at a time.
Truth: exact expectations over 4,000 fresh requests of the demonstration market, all policies on the same requests
and candidates.
"""

from __future__ import annotations

import resource
import time
from dataclasses import replace

import numpy as np

from benchmarks.record import Measure, record
from marketplace.estimate import Estimate
from marketplace.simulator import (
    Policy,
    Simulation,
    SimulatorConfig,
    logging_policy,
    popularity_policy,
    random_policy,
    simulate,
    true_ctr_policy,
    true_difference,
    true_gmv_policy,
    true_value,
)

SEED = 0
REQUESTS = 4_000
ONE_BY_ONE = 1_000  # requests answered for the baseline
METRICS = {"ctr": "", "cvr": "", "gmv_sar": "SAR / request", "margin_sar": "SAR / request", "merchant_quality": ""}


def timed(config: SimulatorConfig) -> tuple[Simulation, float]:
    start = time.perf_counter()
    simulation = simulate(config, np.random.default_rng(SEED))
    return simulation, time.perf_counter() - start


def speed() -> list[Measure]:
    large, seconds = timed(SimulatorConfig.large())
    impressions = int(large.ranked.length.sum())
    wide, wide_seconds = timed(replace(SimulatorConfig.large(), items=100_000, merchants=3_000))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    batched, looped = response_speed(large)
    return [
        Measure("impressions simulated, 20 k items", impressions, "impressions", ">= 1000000"),
        Measure("seconds for them", seconds, "s", "<= 15"),
        Measure(
            "seconds per 1 M impressions, 100 k items", wide_seconds / wide.ranked.length.sum() * 1e6, "s", "<= 15"
        ),
        Measure("true probabilities in one batch", batched, "pairs / s"),
        Measure("true probabilities, one request at a time", looped, "pairs / s"),
        Measure("peak memory of the process", peak, "GiB"),
    ]


def response_speed(simulation: Simulation) -> tuple[float, float]:
    """Pairs of request and item answered per second, all at once and in a loop over requests."""
    requests, items = simulation.requests.take(slice(0, 20 * ONE_BY_ONE)), simulation.ranked.item[: 20 * ONE_BY_ONE]
    start = time.perf_counter()
    simulation.respond(requests, items)
    middle = time.perf_counter()
    for row in range(ONE_BY_ONE):
        simulation.respond(requests.take(slice(row, row + 1)), items[row : row + 1])
    end = time.perf_counter()
    return items.size / (middle - start), items[:ONE_BY_ONE].size / (end - middle)


def truth() -> list[Measure]:
    simulation, _ = timed(SimulatorConfig.demo())
    market, rng = simulation.market, np.random.default_rng(SEED + 1)
    requests = simulation.draw_requests(rng, count=REQUESTS)
    candidates = simulation.draw_candidates(requests, rng)
    policies: dict[str, Policy] = {
        "random": random_policy(rng),
        "popularity": popularity_policy(market),
        "the logging policy": logging_policy(market, rng),
        "true ctr": true_ctr_policy(market),
        "true gmv": true_gmv_policy(market),
    }
    rows = [
        measure(f"{metric} of ranking by {name}", estimate, unit)
        for name, policy in policies.items()
        for metric, estimate in true_value(
            simulation, policy, rng=rng, requests=requests, candidates=candidates
        ).items()
        if (unit := METRICS.get(metric)) is not None
    ]
    gap = true_difference(
        simulation, policies["true gmv"], policies["true ctr"], rng=rng, requests=requests, candidates=candidates
    )["gmv_sar"]
    lost = measure("GMV lost by ranking on true ctr instead of true gmv", gap, "SAR / request", "> 0")
    return [*rows, lost]


def measure(name: str, estimate: Estimate, unit: str, bar: str | None = None) -> Measure:
    return Measure(name, estimate.value, unit, bar, (estimate.low, estimate.high))


if __name__ == "__main__":
    record("simulator", speed() + truth(), data="the simulated market, sizes large and demo", seed=SEED)
