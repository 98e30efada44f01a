"""Is a broken sample ratio found, and a fair one left alone, however often one looks?

Counts of two arms over 28 daily looks. 1 M units at 50.5 / 49.5 must be found; 1 M and 10,000 fair ones raise an alarm
on any day with probability alpha at most. Beside it Pearson's chi-squared test, looked at daily. The reading of an
experiment calls a ratio broken at 0.001, where alarms are rarer still.
"""

from __future__ import annotations

import numpy as np

from benchmarks.record import Measure, record
from evaluation.experiments.srm import fixed_p_value, sequential_p_values

NAME, SEED, DRAWS, LOOKS, ALPHA, STRICT = "experiments_srm", 7, 10_000, 28, 0.05, 0.001
SHARES = np.array([0.5, 0.5])


def looks(units: int, share: float, rng: np.random.Generator, *, draws: int) -> np.ndarray:
    """Cumulative counts [draws, LOOKS, 2]: as many new units each day."""
    first = rng.binomial(units // LOOKS, share, (draws, LOOKS)).cumsum(axis=1)
    return np.stack([first, units // LOOKS * np.arange(1, LOOKS + 1) - first], axis=-1)


def main() -> None:
    rng, measures = np.random.default_rng(SEED), []
    broken = sequential_p_values(looks(1_000_000, 0.505, rng, draws=1000), SHARES)
    seen = (broken < STRICT).any(axis=1)
    day = np.where(seen, (broken < STRICT).argmax(axis=1) + 1, LOOKS)
    measures.append(Measure("50.5 / 49.5 of 1 M units: found at 0.001", float(seen.mean()), "share", ">= 0.99"))
    measures.append(Measure("50.5 / 49.5 of 1 M units: day on which it is found", float(np.median(day)), "of 28"))
    for units in (10_000, 1_000_000):
        fair = looks(units, 0.5, rng, draws=DRAWS)
        rates = {
            "sequential": ((sequential_p_values(fair, SHARES)[:, -1] < ALPHA).mean(), f"<= {ALPHA}"),
            "chi-squared, looked at daily": ((fixed_p_value(fair, SHARES) < ALPHA).any(axis=1).mean(), None),
        }
        for method, (rate, bar) in rates.items():
            half = 1.96 * float(np.sqrt(rate * (1 - rate) / DRAWS))
            label = f"fair, {units:,} units: alarms at {ALPHA} on any day, {method}"
            measures.append(Measure(label, float(rate), "share", bar, (rate - half, rate + half)))
    record(NAME, measures, data=f"binomial counts, {LOOKS} looks, {DRAWS:,} fair draws", seed=SEED)


if __name__ == "__main__":
    main()
