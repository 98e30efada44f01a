"""An experiment's reading and plan in words and tables: for the screen, the page and the notebook."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan

from evaluation.estimate import Estimate
from evaluation.experiments.bayes import PRIOR
from evaluation.experiments.conclusion import percent
from evaluation.experiments.effects import Missing
from evaluation.experiments.experiment_file import Experiment, StopRule, Variant
from evaluation.experiments.looks import Look
from evaluation.experiments.metrics import EXPERIMENT_METRICS, ExperimentMetric
from evaluation.experiments.plan import Plan
from evaluation.experiments.reading import ExperimentReading
from jobs.tune.sections import Section

CHANGED, PARTS = "What changed?", "Is it the same everywhere?"  # the sections that have pictures
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
RULES = {
    StopRule.ALWAYS_VALID: "Intervals hold at every look: the experiment may be read, and ended, on any day.",
    StopRule.MIXTURE: "Intervals hold at every look, and are made for effects of the size that is worth finding.",
    StopRule.GROUP_SEQUENTIAL: "Intervals hold at the planned looks.",
    StopRule.FIXED_HORIZON: "Intervals hold at the end alone: an earlier look decides nothing.",
}


def facts(experiment: Experiment) -> dict[str, str]:
    """What is tested, on whom, and until when."""
    variants = "; ".join(f"{one.name} ({one.share:.0%}): {_changes(one)}" for one in experiment.variants)
    return {
        "hypothesis": experiment.hypothesis,
        "owner": experiment.owner,
        "variants": variants,
        "unit": experiment.unit.value.replace("_", " x "),
        "surfaces": ", ".join(experiment.surfaces) or "all",
        "runs": f"{experiment.start:%Y-%m-%d} to {experiment.end:%Y-%m-%d} ({experiment.days:g} days)",
        "decides": f"{experiment.metrics.primary}, {experiment.metrics.minimum_effect:+.1%} is worth finding",
    }


def reading_sections(reading: ExperimentReading, *, currency: str) -> tuple[Section, ...]:
    """Trust first; parts without rows are left out."""
    parts = (
        _trust(reading),
        _effects(reading, currency),
        interleaved_section(reading),
        _guardrails(reading),
        _segments(reading),
        _ages(reading),
        _windows(reading),
        _sizes(reading, currency),
        _ways(reading),
        _beliefs(reading),
    )
    return tuple(part for part in parts if part.rows)


def plan_sections(plan: Plan, *, currency: str) -> tuple[Section, ...]:
    head, stop = ("days", "units expected", "least relative effect found"), plan.experiment.stop
    rows = tuple((str(one.days), f"{one.units:,.0f}", f"{one.detectable:.1%}") for one in plan.lengths)
    caption = (
        f"{plan.experiment.metrics.primary} is {level(plan.level, unit_words(plan.experiment, currency))}. Power "
        f"{stop.power:.0%}, alpha {stop.alpha:g}, rule {stop.rule.value}; without the noise that reading takes off."
    )
    shares = tuple("" if isnan(share) else f"{share:.2f}" for share in plan.weekdays.tolist())
    weekdays = Section(
        "Weekdays", "Requests a day, over the mean day's: whole weeks hold each alike.", WEEKDAYS, (shares,)
    )
    return (Section("What can be found", caption, head, rows), weekdays)


def plan_words(plan: Plan) -> tuple[str, ...]:
    """The plan in two sentences; the first is the verdict."""
    experiment, least = plan.experiment, plan.experiment.metrics.minimum_effect
    planned = f"{experiment.days:g} days find {plan.in_time:.1%} of {experiment.metrics.primary}"
    if plan.enough:
        first = f"Enough: {planned}, and {least:.1%} is worth finding."
    else:
        first = f"Too short or too small: {planned}, and no less, but {least:.1%} is worth finding."
    if plan.days is None:
        return first, "No length within half a year finds it: aim at a larger effect, or bring more traffic."
    return first, f"{plan.days} days find {least:.1%} with {experiment.stop.power:.0%} power."


def level(estimate: Estimate | Missing, unit: str) -> str:
    return str(estimate) if isinstance(estimate, Missing) else f"{estimate} {unit}".rstrip()


def unit_words(experiment: Experiment, currency: str) -> str:
    return metric_unit(EXPERIMENT_METRICS[experiment.metrics.primary], currency)


def metric_unit(metric: ExperimentMetric, currency: str) -> str:
    return "" if metric.unit == "1" else metric.unit.replace("currency", currency).replace(" / ", " per ")


def _p(p_value: float) -> str:
    return "" if isnan(p_value) else f"{p_value:.3g}"


def _changes(variant: Variant) -> str:
    if variant.interleave is not None:
        return f"policy {variant.policy} interleaved with the one in force ({variant.interleave.replace('_', ' ')})"
    files = (("policy", variant.policy), ("surfaces", variant.surfaces), ("bundle", variant.bundle))
    return " and ".join(f"{what} {file}" for what, file in files if file is not None) or "as in force"


def _trust(reading: ExperimentReading) -> Section:
    rows = tuple((check.name, check.level.value, check.sentence, _p(check.p_value)) for check in reading.trust)
    caption = "What randomisation promises. Where a row is broken, nothing below is to be read."
    return Section("Can it be trusted?", caption, ("check", "verdict", "what was seen", "p"), rows)


def _effects(reading: ExperimentReading, currency: str) -> Section:
    of_metric = ("variant", "metric", "unit", "control", "variant's")
    head = (*of_metric, "relative change", "difference", "p", "adjusted p", "noise left")
    rows = tuple(
        (
            one.variant,
            one.metric.name + (" (decides)" if one.metric.name == reading.experiment.metrics.primary else ""),
            metric_unit(one.metric, currency),
            str(one.control),
            str(one.treated),
            percent(one.relative),
            str(one.difference),
            _p(one.p_value),
            _p(one.adjusted),
            "" if isnan(one.kept) else f"{one.kept:.0%}",
        )
        for one in reading.metrics
    )
    units = ", ".join(f"{name} {count:,}" for name, count in reading.units.items())
    caption = (
        f"Units: {units}. {RULES[reading.look.rule]} {_level_words(reading.look)} Changes are adjusted for what was "
        "known of the units before the start, which takes noise and no effect: the last column is the variance left. "
        "Adjusted p counts all metrics of the variant (Holm): who claims another than the one that decides reads that."
    )
    return Section(CHANGED, caption, head, rows)


def _level_words(look: Look) -> str:
    shared = f", {look.comparisons} variants sharing it" if look.comparisons > 1 else ""
    return f"Alpha is {look.alpha:g}{shared}."


def _guardrails(reading: ExperimentReading) -> Section:
    rows = tuple((one.variant, str(one), one.state.value, percent(one.relative)) for one in reading.guardrails)
    caption = (
        "Safe: surely within the margin. Harmed: surely beyond it. Open: neither yet. Bounds hold at every look; the "
        "lower one is what safety rests on, the upper one what harm does (mirrored where less is better)."
    )
    return Section("Does anything suffer?", caption, ("variant", "guardrail", "verdict", "relative change"), rows)


def _segments(reading: ExperimentReading) -> Section:
    rows = tuple(
        (one.variant, one.dimension, one.segment, percent(one.relative), _p(one.p_value)) for one in reading.segments
    )
    caption = (
        f"{reading.experiment.metrics.primary} by what each unit's first request said. Among so many parts some stand "
        "out by chance: p is adjusted for that (Benjamini-Hochberg). A part is a question for the next experiment."
    )
    head = ("variant", "by", "part", "relative change", "adjusted p")
    return Section(PARTS, caption, head, rows)


def _ages(reading: ExperimentReading) -> Section:
    def rows() -> Iterator[tuple[str, ...]]:
        for variant, one in reading.novelty.items():
            for age, contrast in one.effects.items():
                yield variant, age, percent(contrast.fixed())
            if one.trend is not None:
                yield variant, "last minus first", percent(one.trend.fixed())

    caption = (
        f"{reading.experiment.metrics.primary} by days since a unit's first request in the experiment, over units that "
        "reached that age: a novelty wears off, a habit grows. Intervals are those of one look."
    )
    return Section("Does it last?", caption, ("variant", "age", "relative change"), tuple(rows()))


def interleaved_section(reading: ExperimentReading) -> Section:
    """Rows for interleaved variants alone."""
    rows = tuple(
        (
            one.variant,
            one.outcome,
            percent(one.relative),
            str(one.difference),
            _p(one.p_value),
            percent(one.preferred),
            "assumed" if one.assumed else "from its clicks",
        )
        for one in reading.interleaved
    )
    caption = (
        "The variant's policy against the one in force, from lists that mix both: what an A/B test of the two would "
        "show (above, the mixed lists stand against the control). Preferred: outcomes on places that the policy filled "
        "less those on the other's, over both."
    )
    head = ("variant", "outcome", "relative change", "difference per request", "p", "preferred", "examination")
    return Section("Interleaved: which policy is better?", caption, head, rows)


def _windows(reading: ExperimentReading) -> Section:
    rows = tuple(
        (variant, str(one.carried.fixed()), _p(float(one.carried.p_value)), percent(one.steady.fixed()))
        for variant, one in reading.switchback.items()
    )
    caption = (
        f"{reading.experiment.metrics.primary}: what the window before leaves behind, and the change where both "
        "windows had the variant, against both under the control. With carry-over the latter is what shipping does."
    )
    head = ("variant", "carried over", "p", "relative change in steady state")
    return Section("Does a window carry over into the next?", caption, head, rows)


def _sizes(reading: ExperimentReading, currency: str) -> Section:
    rows = tuple(
        (one.variant, f"{one.q:.0%} of orders lie below", str(one.control), str(one.difference))
        for one in reading.quantiles
    )
    caption = f"Values of items ordered, in {currency}, clustered by unit. Intervals are those of one look."
    return Section("Do orders change their size?", caption, ("variant", "quantile", "control", "difference"), rows)


def _ways(reading: ExperimentReading) -> Section:
    rows = tuple(
        (variant, way, percent(estimate))
        for variant, ways in reading.sensitivity.items()
        for way, estimate in ways.items()
    )
    caption = f"{reading.experiment.metrics.primary} in other ways: an answer that hangs on one of them is none."
    return Section("Does it hang on the way of counting?", caption, ("variant", "way", "relative change"), rows)


def _beliefs(reading: ExperimentReading) -> Section:
    known = [(one, one.belief) for one in reading.metrics if one.belief is not None]
    rows = tuple(
        (one.variant, one.metric.name, percent(belief.effect), f"{belief.better:.1%}", f"{belief.loss:.2%}")
        for one, belief in known
    )
    caption = (
        f"Prior: relative effects are normal around 0 with standard deviation {PRIOR:.0%}. Loss: what shipping "
        "costs on average where the effect is below 0. These are no guarantees under repeated looks."
    )
    head = ("variant", "metric", "relative change", "P(above 0)", "expected loss")
    return Section("What to believe", caption, head, rows)
