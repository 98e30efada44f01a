"""Does an experiment find what its plan says it will, and how much noise does what was before take off?

Power: a plan is made from the simulated market's log for four weeks and one look; the effect that it says is found with
80 % power is planted on the variant's shoppers, drawn anew 2,000 times in each of the three windows of four weeks that
the plan was made from, and its mean power is held against the plan's. Adjustment: over 4,000 draws, half of them the
mirrors of the others with the arms swapped, the mean of each estimate is held against what was planted, in standard
deviations of one estimate, and its variance against that of the plain difference.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.experiment_units import DailyUnits, daily_units, halves, sums_of
from benchmarks.experiments_aa import simulated
from benchmarks.record import Measure, record
from evaluation.experiments.effects import Contrast, Ratio, effect
from evaluation.experiments.experiment_file import Experiment, parse_experiment
from evaluation.experiments.plan import plan_experiment
from evaluation.experiments.sums import Means, post_stratified
from jobs.example_experiment import FILE
from marketplace.attribution import Attribution

NAME, SEED, DRAWS, BATCH, UNBIASED = "experiments_power", 7, 2000, 500, 4000
PLANNED = {
    "ctr": ("ctr", Ratio("clicks", "impressions")),
    "clicks per user": ("clicks_per_user", Ratio("clicks")),
    "orders per user": ("orders_per_user", Ratio("orders")),
}
ACTIVITY = (Ratio("clicks_before"), Ratio("impressions_before"))


def planned(joined: Attribution, metric: str) -> float:
    """The relative effect that four weeks find, by the plan, in one look."""
    experiment: Experiment = parse_experiment(FILE + '\n[stop]\nrule = "fixed_horizon"\n')
    experiment = replace(experiment, metrics=replace(experiment.metrics, primary=metric))
    return plan_experiment(joined, experiment).in_time


def arms(units: DailyUnits, ratio: Ratio, lift: float, draws: int, rng: np.random.Generator) -> tuple[Means, Means]:
    """Draws of two halves; each unit's numerator in the variant is raised by the share `lift`."""
    control, variant = halves(units.units, draws, rng)
    return _means(units, ratio, 0.0, control), _means(units, ratio, lift, variant)


def _means(units: DailyUnits, ratio: Ratio, lift: float, weights: np.ndarray) -> Means:
    return sums_of(units.columns, _lifted(units, ratio, lift), weights).means


def _lifted(units: DailyUnits, ratio: Ratio, lift: float) -> np.ndarray:
    values = units.values[-1].copy()
    values[:, units.columns.index(ratio.numerator)] *= 1 + lift
    return values


def power(units: DailyUnits, ratio: Ratio, lift: float, rng: np.random.Generator, *, adjusted: bool) -> float:
    """Share of DRAWS in which the planted effect is told from none at 5 %."""
    before = (Ratio(f"{ratio.numerator}_before"), *ACTIVITY) if adjusted else ()
    told = []
    for _ in range(DRAWS // BATCH):
        relative = effect(*arms(units, ratio, lift, BATCH, rng), ratio, covariates=before, relative=True)
        told.append(relative.p_value < 0.05)
    return float(np.concatenate(told).mean())


def adjustments(units: DailyUnits, ratio: Ratio, lift: float, rng: np.random.Generator) -> dict[str, Contrast]:
    """The same UNBIASED draws, read in four ways."""
    one, other = halves(units.units, UNBIASED // 2, rng)
    control, variant = np.concatenate([one, other]), np.concatenate([other, one])
    pair = _means(units, ratio, 0.0, control), _means(units, ratio, lift, variant)
    below = ratio.denominator if ratio.denominator == "units" else f"{ratio.denominator}_before"
    same = Ratio(f"{ratio.numerator}_before", below)
    return {
        "plain": effect(*pair, ratio),
        "CUPED": effect(*pair, ratio, covariates=(same,)),
        "regression on three covariates": effect(*pair, ratio, covariates=(same, *ACTIVITY)),
        "strata of activity": effect(*_stratified(units, ratio, lift, control, variant), ratio),
    }


def _stratified(
    units: DailyUnits, ratio: Ratio, lift: float, control: np.ndarray, variant: np.ndarray
) -> tuple[Means, Means]:
    """Strata: units without a past, and thirds of the others by what they saw before."""
    before = units.values[-1][:, units.columns.index("impressions_before")]
    edges = np.quantile(before[before > 0], [1 / 3, 2 / 3])
    stratum = np.where(before > 0, 1 + np.searchsorted(edges, before), 0)
    shares = np.bincount(stratum) / len(stratum)
    means = []
    for weights, raised in ((control, 0.0), (variant, lift)):
        values = _lifted(units, ratio, raised)
        parts = [sums_of(units.columns, values, weights * (stratum == one)) for one in range(len(shares))]
        whole = replace(
            parts[0],
            n=np.stack([part.n for part in parts], -1),
            total=np.stack([part.total for part in parts], -2),
            products=np.stack([part.products for part in parts], -3),
        )
        means.append(post_stratified(whole, shares))
    return means[0], means[1]


def main() -> None:
    joined, rng = simulated(), np.random.default_rng(SEED)
    windows = [daily_units(joined, first=first, days=28) for first in (0, 7, 14)]
    units, measures = windows[-1], list[Measure]()
    for name, (metric, ratio) in PLANNED.items():
        lift = planned(joined, metric)
        measures.append(Measure(f"{name}: relative effect that the plan finds with 80 % power", lift, "share"))
        for label, adjusted in (("as planned", False), ("adjusted for what was before", True)):
            # The first window has nothing before it.
            of = windows[1:] if adjusted else windows
            found = float(np.mean([power(one, ratio, lift, rng, adjusted=adjusted) for one in of]))
            half = 1.96 * float(np.sqrt(found * (1 - found) / DRAWS / len(of)))
            bar = None if adjusted else "0.77-0.83"
            measures.append(Measure(f"{name}: power, {label}", found, "share", bar, (found - half, found + half)))
    for name, (_, ratio) in PLANNED.items():
        lift, values = 0.1, units.values[-1]
        above, below = (values[:, units.columns.index(one)].mean() for one in (ratio.numerator, ratio.denominator))
        ways = adjustments(units, ratio, lift, rng)
        for way, contrast in ways.items():
            away = float((contrast.value.mean() - lift * above / below) / contrast.value.std(ddof=1))
            kept = float(contrast.value.var() / ways["plain"].value.var())
            stated = float(np.mean(contrast.error**2) / contrast.value.var(ddof=1))
            measures.append(Measure(f"{name}, {way}: |bias|", abs(away), "standard deviations", "<= 0.1"))
            measures.append(Measure(f"{name}, {way}: variance stated / of draws", stated, "ratio", "0.85-1.15"))
            if way != "plain":
                measures.append(Measure(f"{name}, {way}: variance left", kept, "share of the plain one"))
    data = f"simulated market, {units.units:,} shoppers in four weeks; {DRAWS:,} draws, {UNBIASED} for adjustments"
    record(NAME, measures, data=data, seed=SEED)


if __name__ == "__main__":
    main()
