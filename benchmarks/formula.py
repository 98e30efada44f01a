"""What does a checked formula cost beside the same arithmetic typed into NumPy, and do its twins agree?"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from benchmarks.record import Measure, record
from value_model.formula import default_policy, evaluate, shipped_policies, shipped_policy
from value_model.formula.explain import explain
from value_model.formula.value_policy import ValuePolicy
from value_model.policy_checks import check_policy

SEED, CANDIDATES = 0, 500


def columns_of(policy: ValuePolicy, rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Uniform inputs within plausible ranges."""
    columns = {}
    for name in policy.inputs:
        quantity = policy.quantity[name]
        columns[name] = rng.uniform(max(quantity.low, -100.0), min(quantity.high, 100.0), shape)
    if "merchant" in columns:
        columns["merchant"] = rng.integers(0, 100, shape).astype(np.float64)
    return columns


def microseconds(call: Callable[[], object], *, repeats: int = 500) -> float:
    for _ in range(20):
        call()
    times = np.empty(repeats)
    for i in range(repeats):
        start = time.perf_counter()
        call()
        times[i] = time.perf_counter() - start
    return 1e6 * float(np.median(times))


def by_hand(c: dict[str, np.ndarray], w: dict[str, float]) -> np.ndarray:
    """The default formula, typed in."""
    merchant_value = c["commission_rate"] * c["gmv"] + w["w_quality"] * c["quality"] + w["w_new"] * c["newness"]
    return (
        w["w_click"] * c["ctr"] + w["w_order"] * c["ctcvr"] + w["w_gmv"] * c["gmv"] + w["w_merchant"] * merchant_value
    )


def one_request(rng: np.random.Generator) -> list[Measure]:
    policy = default_policy()
    columns, weights = columns_of(policy, rng, (CANDIDATES,)), policy.weights_for(surface="home")
    calls: dict[str, Callable[[], object]] = {
        "typed into NumPy": lambda: by_hand(columns, weights),
        "evaluate": lambda: evaluate(policy, columns, weights=weights),
        "explain": lambda: explain(policy, columns, weights=weights),
    }
    measures = [Measure(f"one request, {name}", microseconds(call), "us") for name, call in calls.items()]
    measures.append(
        Measure("check-policy of the default", microseconds(lambda: check_policy(policy), repeats=10), "us")
    )
    return measures


def twins(rng: np.random.Generator) -> Measure:
    """Largest relative difference between NumPy and TensorFlow over all shipped policies."""
    from value_model.formula_graph import graph_value

    worst = 0.0
    for name in shipped_policies():
        policy = shipped_policy(name)
        columns = columns_of(policy, rng, (20, 50))
        expected, computed = evaluate(policy, columns), graph_value(policy, columns).numpy()
        worst = max(worst, float((np.abs(computed - expected) / np.maximum(np.abs(expected), 1e-3)).max()))
    return Measure("NumPy and TensorFlow, largest relative difference, all shipped policies", worst, "1", "<= 1e-06")


def main() -> None:
    rng = np.random.default_rng(SEED)
    measures = [*one_request(rng), twins(rng)]
    record("formula", measures, data=f"{CANDIDATES} generated candidates", seed=SEED)


if __name__ == "__main__":
    main()
