"""How long does it take to fill a slate: 500 candidates, 50 places, every constraint at once, on one core?

The machine may be shared: the quietest of the rounds is the policy's own cost, the busiest says what company does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.record import Measure, record
from value_model.slate_policies.diversity import DPP, MMR, Similarity
from value_model.slate_policies.plackett_luce import PlackettLuce
from value_model.slate_policies.rules import CategoryCap, MerchantCap, Newcomers
from value_model.slate_policies.sequential import SequentialSlate
from value_model.slate_policies.shadow_prices import ShadowPrices
from value_model.slate_policies.slate_policy import Greedy, ItemAttributes, SlatePolicy

SEED, CANDIDATES, PLACES, MERCHANTS, CATEGORIES, DIMENSIONS = 0, 500, 50, 120, 30, 64
ROUNDS, REPEATS = 8, 200


def candidates(rng: np.random.Generator) -> tuple[np.ndarray, ItemAttributes]:
    """Values in SAR per impression with merchants' shadow prices, and the attributes, of one request's candidates."""
    vectors = rng.normal(size=(CANDIDATES, DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    attributes = ItemAttributes(
        {
            "merchant": rng.integers(0, MERCHANTS, CANDIDATES),
            "category": rng.integers(0, CATEGORIES, CANDIDATES),
            "newcomer": rng.random(CANDIDATES) < 0.1,
            "embedding": vectors,
        }
    )
    prices = ShadowPrices(np.full(MERCHANTS, 0.5 / MERCHANTS), rate=0.01, most=0.05)
    prices.observe(rng.integers(0, MERCHANTS, PLACES))
    return rng.lognormal(-4, 1, CANDIDATES) + prices.worth(attributes["merchant"]), attributes


def policies(rng: np.random.Generator) -> dict[str, tuple[SlatePolicy, str | None]]:
    """Each policy with its bar."""
    rules = (MerchantCap(2), CategoryCap(6), Newcomers(6))
    similarity = Similarity(merchant=0.4, category=0.3, embedding=0.3)
    drawn = PlackettLuce(0.005)
    mmr, dpp = MMR(0.01, similarity), DPP(0.01, similarity)
    return {
        "greedy argsort": (Greedy(), None),
        "Plackett-Luce": (drawn, None),
        "all constraints, MMR": (SequentialSlate(rules=rules, diversity=mmr), "< 1.5"),
        "all constraints, DPP": (SequentialSlate(rules=rules, diversity=dpp), "< 1.5"),
        "all constraints, MMR, Plackett-Luce": (SequentialSlate(drawn, rules, mmr), "< 1.5"),
        "all constraints, DPP, Plackett-Luce": (SequentialSlate(drawn, rules, dpp), "< 1.5"),
    }


def milliseconds(call: Callable[[], object]) -> np.ndarray:
    """One round of times."""
    times = np.empty(REPEATS)
    for i in range(REPEATS):
        start = time.perf_counter()
        call()
        times[i] = time.perf_counter() - start
    return 1e3 * times


def main() -> None:
    rng = np.random.default_rng(SEED)
    value, attributes = candidates(rng)
    chosen = policies(rng)
    rounds: dict[str, list[np.ndarray]] = {name: [] for name in chosen}
    for _ in range(ROUNDS):  # in turns, so that a busy moment of the machine does not fall on one policy alone
        for name, (policy, _) in chosen.items():
            rounds[name].append(milliseconds(partial(policy.choose, value, k=PLACES, rng=rng, attributes=attributes)))
    measures = []
    for name, (_, bar) in chosen.items():
        medians = [float(np.median(times)) for times in rounds[name]]
        measures.append(Measure(f"{name}: p50 of the quietest round", min(medians), "ms", bar))
        measures.append(Measure(f"{name}: p50 of the busiest round", max(medians), "ms"))
        measures.append(Measure(f"{name}: p99", float(np.quantile(np.concatenate(rounds[name]), 0.99)), "ms"))
    data = f"{CANDIDATES} generated candidates to {PLACES} places, {DIMENSIONS}-d embeddings"
    record("slate_policy", measures, data=data, seed=SEED)


if __name__ == "__main__":
    main()
