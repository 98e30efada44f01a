"""Do experiments cry wolf: 2,000 A/A experiments each on the simulated market's log and on resampled trivago.

The market: shoppers are drawn into two arms alike, the log's last four weeks pass day by day, and the two weeks before
adjust what is read. trivago: shoppers are drawn with replacement into two arms; its days are looked at one by one. Once
at the end: Welch's t. At any time: from the day on which each arm has 100 shoppers, an alarm on any day counts. Beside
them the plain z-test, looked at daily, which is what not to do. The group-sequential test spends its 5 % to the end: as
of one look at the end, the share over 2,000 draws may be 1 % above.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.experiment_units import DailyUnits, daily_units, halves, resampled_halves
from benchmarks.record import Measure, record, skip
from evaluation.experiments import sequences, spending
from evaluation.experiments.effects import Contrast, Ratio, effect
from jobs.data import data_root, market
from marketplace.attribution import Attribution, attribute
from marketplace.datasets.trivago import read_trivago

NAME, SEED, DRAWS, BATCH, ALPHA, FEWEST = "experiments_aa", 7, 2000, 500, 0.05, 100
METRICS = {
    "ctr": (Ratio("clicks", "impressions"), Ratio("clicks_before", "impressions_before")),
    "clicks per user": (Ratio("clicks"), Ratio("clicks_before")),
    "GMV per user": (Ratio("gmv"), Ratio("gmv_before")),
}
Arms = Callable[[int, int, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def simulated() -> Attribution:
    dataset = market("demo", seed=SEED).dataset
    return attribute(dataset.slates, dataset.feedback)


def trivago() -> Attribution:
    path = data_root() / "trivago" / "trivago_val_100k.parquet"
    if not path.exists():
        skip(NAME, f"{path} is absent; set VALUE_MODEL_DATA to the folder of the data sets.")
    dataset = read_trivago(path)
    return attribute(dataset.slates, dataset.feedback)


def alarms(units: DailyUnits, metric: str, arms: Arms, rng: np.random.Generator, *, adjusted: bool) -> dict[str, float]:
    """Share of DRAWS with an alarm, by method."""
    counts: dict[str, list[np.ndarray]] = {}
    for _ in range(DRAWS // BATCH):
        weights = arms(units.units, BATCH, rng)
        for method, alarm in _batch(units, metric, weights, adjusted=adjusted).items():
            counts.setdefault(method, []).append(alarm)
    return {method: float(np.concatenate(parts).mean()) for method, parts in counts.items()}


def _batch(
    units: DailyUnits, metric: str, weights: tuple[np.ndarray, np.ndarray], *, adjusted: bool
) -> dict[str, np.ndarray]:
    ratio, before = METRICS[metric]
    days, looks = len(units.values), []
    for day in range(days):
        control, variant = (units.sums(day, one).means for one in weights)
        if min(control.n.min(), variant.n.min()) >= FEWEST:
            looks.append(effect(control, variant, ratio, covariates=(before,) if adjusted else ()))
    bounds = spending.boundaries([(days - len(looks) + k) / days for k in range(1, len(looks) + 1)], alpha=ALPHA)
    best_at = float(looks[-1].n.mean())
    usual = float(np.median(looks[-1].error))
    return {
        "once at the end": looks[-1].p_value < ALPHA,
        "plain z, daily": _ever(looks, lambda look, at: look.p_value < ALPHA),
        "any time": _ever(looks, lambda look, at: _sequence(look, best_at) < ALPHA),
        "mixture test": _ever(
            looks, lambda look, at: sequences.mixture_p_value(look.value, look.error, expected=2 * usual) < ALPHA
        ),
        "group-sequential": _ever(looks, lambda look, at: np.abs(look.value / look.error) > bounds[at]),
    }


def _sequence(look: Contrast, best_at: float) -> np.ndarray:
    return sequences.p_value(look.value, look.error, look.n, best_at=best_at, alpha=ALPHA)


def _ever(looks: list[Contrast], alarm: Callable[[Contrast, int], np.ndarray]) -> np.ndarray:
    return np.any([alarm(look, at) for at, look in enumerate(looks)], axis=0)


def main() -> None:
    rng = np.random.default_rng(SEED)
    logs: dict[str, tuple[DailyUnits, Arms, tuple[str, ...]]] = {
        "market": (daily_units(simulated(), first=14, days=28), halves, tuple(METRICS)),
        "trivago": (daily_units(trivago(), first=0, days=7), resampled_halves, ("ctr", "clicks per user")),
    }
    bars = {"once at the end": "0.04-0.06", "group-sequential": "<= 0.06", "plain z, daily": None}
    measures = []
    for log, (units, arms, metrics) in logs.items():
        for metric in metrics:
            for adjusted in (False, True) if log == "market" else (False,):
                of = f"{log}, {metric}{', adjusted' if adjusted else ''}"
                for method, rate in alarms(units, metric, arms, rng, adjusted=adjusted).items():
                    half = 1.96 * float(np.sqrt(rate * (1 - rate) / DRAWS))
                    bar = bars.get(method, "<= 0.05")
                    measures.append(Measure(f"{of}: {method}", rate, "share", bar, (rate - half, rate + half)))
    sizes = ", ".join(
        f"{log} {units.units:,} shoppers in {len(units.values)} days" for log, (units, *_) in logs.items()
    )
    record(NAME, measures, data=f"{DRAWS:,} A/A experiments each; {sizes}", seed=SEED)


if __name__ == "__main__":
    main()
