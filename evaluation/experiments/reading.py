"""Reading of an experiment: trust first, then effects, guardrails, segments and how they change with time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from evaluation.curves import Curve
from evaluation.estimate import Estimate
from evaluation.experiments.bayes import Posterior, posterior
from evaluation.experiments.effects import Contrast, Missing, Ratio, effect, level_of, missing
from evaluation.experiments.experiment_file import (
    ANY_TIME,
    AssignmentUnit,
    Experiment,
    StopRule,
)
from evaluation.experiments.guardrail_reading import GuardrailReading, guardrail_readings
from evaluation.experiments.interleaved_reading import InterleavedReading, interleaved_readings
from evaluation.experiments.looks import Look, look_of
from evaluation.experiments.metrics import EXPERIMENT_METRICS, ExperimentMetric
from evaluation.experiments.multiple import benjamini_hochberg, holm
from evaluation.experiments.novelty import Novelty, novelty
from evaluation.experiments.quantiles import quantile_difference, quantile_level
from evaluation.experiments.robust import TRIM, trimmed_change, winsorised
from evaluation.experiments.sums import UNITS, UnitSums, post_stratified, unit_sums
from evaluation.experiments.switchback import Switchback, switchback
from evaluation.experiments.trust import TrustCheck, bot_units, trust_checks
from evaluation.experiments.unit_table import (
    MONEY,
    SUFFIX,
    UnitTable,
    microseconds,
    request_columns,
    unit_keys,
    unit_table,
    unrecorded,
)
from marketplace.attribution import Attribution
from marketplace.slate_columns import request_of_rows, to_numpy

FEWEST_ADJUSTED, FEWEST_SEGMENT = 100, 50  # units an arm, for covariates and for a segment
BEST_AT = 10_000.0  # units, where the log before the start tells of none
ACTIVITY = ("requests", "clicks")  # beside the metric itself, what covariates know of a unit before the start
QUANTILES = (0.5, 0.9)  # of order values
TESTS = {StopRule.ALWAYS_VALID: "by the confidence sequence", StopRule.MIXTURE: "by the mixture test"}


@dataclass(frozen=True)
class MetricReading:
    """A metric of one variant against the control; `kept`: the share of the variance that covariates left.

    `adjusted`: its p-value over all metrics of the variant (Holm).
    """

    metric: ExperimentMetric
    variant: str
    control: Estimate | Missing
    treated: Estimate | Missing
    difference: Estimate | Missing
    relative: Estimate | Missing
    p_value: float
    kept: float
    belief: Posterior | None
    adjusted: float = float("nan")


@dataclass(frozen=True)
class SegmentReading:
    """The primary metric in a part of the units; `p_value` is adjusted over all segments."""

    dimension: str
    segment: str
    variant: str
    relative: Estimate | Missing
    p_value: float


@dataclass(frozen=True)
class QuantileReading:
    """A quantile `q` of order values, currency, in both arms; at one look."""

    variant: str
    q: float
    control: Estimate
    difference: Estimate


@dataclass(frozen=True)
class ExperimentReading:
    """All that a log tells of an experiment at a look; `units` counts each variant's, bots apart."""

    experiment: Experiment
    as_of: datetime
    look: Look
    units: Mapping[str, int]
    trust: tuple[TrustCheck, ...]
    metrics: tuple[MetricReading, ...]
    guardrails: tuple[GuardrailReading, ...]
    segments: tuple[SegmentReading, ...]
    novelty: Mapping[str, Novelty]
    sensitivity: Mapping[str, Mapping[str, Estimate | Missing]]  # of the primary metric: variant -> way -> relative
    quantiles: tuple[QuantileReading, ...]
    stops: Mapping[str, datetime]  # when variants were stopped
    switchback: Mapping[str, Switchback]  # of the primary metric, where cities change their variant; else empty
    interleaved: tuple[InterleavedReading, ...] = ()

    def primary(self, variant: str) -> MetricReading:
        name = self.experiment.metrics.primary
        return next(one for one in self.metrics if one.variant == variant and one.metric.name == name)


def read_experiment(
    joined: Attribution, experiment: Experiment, *, as_of: datetime, stops: Mapping[str, datetime] | None = None
) -> ExperimentReading:
    """Read `experiment` from a log whose feedback is joined as it was known at `as_of`.

    `stops`: when variants were stopped. From then on their units met what is in force, while the control's went on: a
    stopped variant is read by the slates before its stop, of both.
    """
    stops = stops or {}
    treatments = [variant.name for variant in experiment.treatments]
    table = unit_table(joined, experiment)
    whole = _Arms(experiment, table, ~bot_units(table))
    arms = {name: _arms(joined, experiment, stops[name]) if name in stops else whole for name in treatments}
    look = look_of(experiment, as_of=as_of, best_at=expected_units(joined, experiment))
    interleaved = tuple(interleaved_readings(joined, experiment, table, whole.kept, look))
    primary = EXPERIMENT_METRICS[experiment.metrics.primary]
    requests, time = request_columns(joined), microseconds(joined.slates)
    ages = {
        name: novelty(one.table, requests, time, ratio_of(primary), arm=one.arm(name), now=stops.get(name, as_of))
        for name, one in arms.items()
        if primary.denominator in (*requests, UNITS) and primary.numerator in requests
    }

    def change(metric: ExperimentMetric, variant: str) -> Contrast:
        return arms[variant].contrast(metric, variant, relative=True)

    return ExperimentReading(
        experiment,
        as_of,
        look,
        dict(zip(table.variants, table.counts().tolist(), strict=True)),
        tuple(trust_checks(table, experiment, stopped=stops)),
        tuple(one for variant in treatments for one in _metrics(arms[variant], variant, look)),
        tuple(guardrail_readings(experiment, look, change, interleaved)),
        tuple(_segments(arms, primary, look)),
        ages,
        {name: _sensitivity(arms[name], primary, name, look) for name in treatments},
        tuple(_quantiles(joined, arms)),
        stops,
        _switchback(arms, primary) if experiment.unit is AssignmentUnit.CITY_TIME else {},
        interleaved,
    )


def course(
    joined: Attribution,
    experiment: Experiment,
    *,
    as_of: datetime,
    points: int = 14,
    stops: Mapping[str, datetime] | None = None,
) -> dict[str, Curve]:
    """The primary metric's relative change by variant, of the slates up to each of some days, with the rule's interval.

    x: days since the start. Feedback counts as it was known at `as_of`. A moment without an answer has no point, nor
    has one after a variant's stop.
    """
    days = min((as_of - experiment.start).total_seconds() / 86_400, experiment.days)
    best_at, metric = expected_units(joined, experiment), EXPERIMENT_METRICS[experiment.metrics.primary]
    points_by: dict[str, list[tuple[float, Estimate]]] = {variant.name: [] for variant in experiment.treatments}
    for day in np.linspace(0, days, points + 1)[1:] if days > 0 else ():
        moment = experiment.start + timedelta(days=day)
        arms, look = _arms(joined, experiment, moment), look_of(experiment, as_of=moment, best_at=best_at)
        for variant, points_of in points_by.items():
            relative = look.interval(arms.contrast(metric, variant, relative=True))
            if isinstance(relative, Estimate) and moment <= (stops or {}).get(variant, moment):
                points_of.append((day, relative))
    return {variant: _curve(points_of) for variant, points_of in points_by.items() if points_of}


def _curve(points: list[tuple[float, Estimate]]) -> Curve:
    estimates = [estimate for _, estimate in points]
    columns = [[getattr(one, name) for one in estimates] for name in ("value", "low", "high", "n")]
    return Curve(np.array([day for day, _ in points]), *(np.array(column) for column in columns))


def ratio_of(metric: ExperimentMetric) -> Ratio:
    return Ratio(metric.numerator, metric.denominator)


def covariates_of(metric: ExperimentMetric, columns: Mapping[str, np.ndarray]) -> tuple[Ratio, ...]:
    """What is known of the units before the start: the metric itself, and how active they were."""
    below = metric.denominator if metric.denominator == UNITS else f"{metric.denominator}{SUFFIX}"
    ratios = [Ratio(f"{metric.numerator}{SUFFIX}", below), *(Ratio(f"{name}{SUFFIX}") for name in ACTIVITY)]
    known = {*columns, UNITS}
    return tuple(dict.fromkeys(ratio for ratio in ratios if {ratio.numerator, ratio.denominator} <= known))


def expected_units(joined: Attribution, experiment: Experiment) -> float:
    """Units that the experiment will have, by those of as many days before its start; BEST_AT where there are none."""
    time, key = microseconds(joined.slates), unit_keys(joined.slates, experiment)
    start = int(experiment.start.timestamp() * 1e6)
    earlier = (time < start) & (time >= start - experiment.days * 86_400e6) & (key >= 0)
    part = (experiment.layer.high - experiment.layer.low) * (1 - experiment.holdout)
    return float(len(np.unique(key[earlier])) * part) or BEST_AT


@dataclass(frozen=True)
class _Arms:
    """Units by arm, and contrasts of two arms over some of the units."""

    experiment: Experiment
    table: UnitTable
    kept: np.ndarray  # bool [U]

    def arm(self, variant: str) -> np.ndarray:
        """int [U]: 0 = the control's, 1 = the variant's, -1 = neither, or left out."""
        names = self.table.variants
        pair = names.index(self.experiment.control), names.index(variant)
        return np.where(self.kept, np.select([self.table.variant == one for one in pair], [0, 1], -1), -1)

    def sums(
        self, columns: Mapping[str, np.ndarray], variant: str, *, part: np.ndarray | None = None, parts: int = 1
    ) -> UnitSums:
        """[2, parts]: of the control and of the variant, in the parts [U] that units are in."""
        arm = self.arm(variant)
        group = np.where(arm >= 0, arm * parts + (0 if part is None else part), -1)
        return unit_sums(columns, group, groups=2 * parts)[np.arange(2 * parts).reshape(2, parts)]

    def contrast(self, metric: ExperimentMetric, variant: str, *, relative: bool, adjusted: bool = True) -> Contrast:
        ratio, names = ratio_of(metric), self.columns(metric)
        if not names:
            return missing(unrecorded(metric.numerator))
        sums = self.sums(names, variant)[:, 0]
        covariates = covariates_of(metric, names) if adjusted and sums.n.min() >= FEWEST_ADJUSTED else ()
        return effect(sums[0].means, sums[1].means, ratio, covariates=covariates, relative=relative)

    def columns(self, metric: ExperimentMetric) -> dict[str, np.ndarray]:
        """What the metric and its covariates read; nothing where the log does not record the metric."""
        columns = {name: column for name, column in self.table.columns.items() if name != UNITS}
        if metric.numerator not in columns or metric.denominator not in {*columns, UNITS}:
            return {}
        used = {metric.numerator, metric.denominator, *(f"{name}{SUFFIX}" for name in ACTIVITY)}
        used |= {f"{metric.numerator}{SUFFIX}", f"{metric.denominator}{SUFFIX}"}
        return {name: column for name, column in columns.items() if name in used}


def _arms(joined: Attribution, experiment: Experiment, until: datetime) -> _Arms:
    table = unit_table(joined, experiment, until=until)
    return _Arms(experiment, table, ~bot_units(table))


def _metrics(arms: _Arms, variant: str, look: Look) -> list[MetricReading]:
    """Every metric of the file."""
    readings = [_metric(arms, EXPERIMENT_METRICS[name], variant, look) for name in arms.experiment.metrics.names]
    adjusted = holm(np.array([one.p_value for one in readings])).tolist()
    return [replace(one, adjusted=p) for one, p in zip(readings, adjusted, strict=True)]


def _metric(arms: _Arms, metric: ExperimentMetric, variant: str, look: Look) -> MetricReading:
    relative = arms.contrast(metric, variant, relative=True)
    difference = arms.contrast(metric, variant, relative=False)
    columns = arms.columns(metric)
    if columns:
        sums = arms.sums(columns, variant)[:, 0]
        levels = [level_of(sums[at].means, ratio_of(metric)) for at in (0, 1)]
    else:
        levels = [Missing(str(difference.reason))] * 2
    belief = None
    if not relative.reason:
        belief = posterior(float(relative.value), float(relative.error), int(relative.n))
    level, p_value = levels[0], float("nan")
    scale = 0.0 if isinstance(level, Missing) else abs(level.value)
    if not difference.reason:
        p_value = float(look.p_value(difference, scale=scale))
    return MetricReading(
        metric,
        variant,
        levels[0],
        levels[1],
        look.interval(difference, scale=scale),
        look.interval(relative),
        p_value,
        float(difference.kept),
        belief,
    )


def _segments(arms: Mapping[str, _Arms], metric: ExperimentMetric, look: Look) -> list[SegmentReading]:
    """Every part of every dimension that has enough units in both arms."""
    rows, p_values = [], []
    for variant, one in arms.items():
        columns = one.columns(metric)
        for dimension, parts in one.table.segments.items() if columns else ():
            names, part = np.unique(parts, return_inverse=True)
            sums = one.sums(columns, variant, part=part, parts=len(names))
            enough = np.flatnonzero((sums.n >= FEWEST_SEGMENT).all(axis=0))
            for at in enough if len(names) > 1 else ():
                means = sums[0, at].means, sums[1, at].means
                covariates = covariates_of(metric, columns) if sums.n[:, at].min() >= FEWEST_ADJUSTED else ()
                contrast = effect(*means, ratio_of(metric), covariates=covariates, relative=True)
                rows.append((dimension, str(names[at]), variant, look.interval(contrast)))
                p_values.append(np.nan if contrast.reason else float(look.p_value(contrast)))
    adjusted = benjamini_hochberg(np.array(p_values)).tolist()
    return [SegmentReading(*row, p) for row, p in zip(rows, adjusted, strict=True)]


def _quantiles(joined: Attribution, arms: Mapping[str, _Arms]) -> Iterator[QuantileReading]:
    """Of the values of items ordered, where FEWEST_SEGMENT units of each arm ordered."""
    request, ordered = request_of_rows(joined.slates), to_numpy(joined.labels["order"])
    for variant, one in arms.items():
        unit_of_slate = np.full(len(joined.slates), -1)
        unit_of_slate[one.table.slate] = one.table.unit
        rows = np.flatnonzero(ordered & (unit_of_slate[request] >= 0))
        value, unit = to_numpy(joined.labels["order_value"])[rows], unit_of_slate[request[rows]]
        arm = one.arm(variant)[unit]
        if min(len(np.unique(unit[arm == which])) for which in (0, 1)) < FEWEST_SEGMENT:
            continue
        for q in QUANTILES:
            control = quantile_level(value[arm == 0], unit[arm == 0], q=q)
            difference = quantile_difference(value[arm >= 0], unit[arm >= 0], arm[arm >= 0], q=q)
            yield QuantileReading(variant, q, control, difference)


def _switchback(arms: Mapping[str, _Arms], metric: ExperimentMetric) -> dict[str, Switchback]:
    readings = {}
    for variant, one in arms.items():
        table, columns = one.table, one.columns(metric)
        if columns and "city" in table.segments:
            place = np.unique(table.segments["city"], return_inverse=True)[1]
            window = table.first // int(one.experiment.window_hours * 3_600_000_000)
            readings[variant] = switchback(columns, ratio_of(metric), arm=one.arm(variant), place=place, window=window)
    return readings


def _sensitivity(arms: _Arms, metric: ExperimentMetric, variant: str, look: Look) -> dict[str, Estimate | Missing]:
    """The relative effect in other ways: an answer that hangs on one of them is none."""
    columns = arms.columns(metric)
    if not columns:
        return {}
    ratio, ways = ratio_of(metric), {"adjusted for what was before": arms.contrast(metric, variant, relative=True)}
    plain = arms.sums(columns, variant)[:, 0]
    ways["as counted"] = effect(plain[0].means, plain[1].means, ratio, relative=True)
    capped = winsorised(columns, tuple(name for name in (*MONEY, metric.numerator) if name in columns))
    sums = arms.sums(capped, variant)[:, 0]
    ways["largest units capped"] = effect(sums[0].means, sums[1].means, ratio, relative=True)
    if metric.denominator == UNITS:
        arm = arms.arm(variant)
        values = columns[metric.numerator][arm >= 0]
        ways[f"without {TRIM:.0%} on each side"] = trimmed_change(values, arm[arm >= 0], relative=True)
    for dimension, parts in arms.table.segments.items():
        names, part = np.unique(parts, return_inverse=True)
        grid = arms.sums(columns, variant, part=part, parts=len(names))
        if len(names) > 1 and grid.n.min() >= FEWEST_SEGMENT:
            weights = grid.n.sum(axis=0) / grid.n.sum()
            control, treated = (post_stratified(grid[at], weights) for at in (0, 1))
            ways[f"weighted by {dimension}"] = effect(control, treated, ratio, relative=True)
    if not arms.kept.all():
        everyone = _Arms(arms.experiment, arms.table, np.ones(len(arms.table), bool))
        ways["with the machines"] = everyone.contrast(metric, variant, relative=True)
    answers = {way: look.interval(contrast) for way, contrast in ways.items()}
    if look.rule in ANY_TIME:
        other = next(rule for rule in ANY_TIME if rule is not look.rule)
        answers[TESTS[other]] = replace(look, rule=other).interval(ways["adjusted for what was before"])
    return answers
