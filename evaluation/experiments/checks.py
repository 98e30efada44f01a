"""Checks of an experiment's file by itself and beside others: what would harm shoppers, or spoil the answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from evaluation.experiments.conflicts import conflict
from evaluation.experiments.experiment_file import AssignmentUnit, Experiment
from evaluation.experiments.metrics import EXPERIMENT_METRICS
from marketplace.finding import Finding, Severity
from marketplace.toml_text import KeyPath, TomlText

STORE_PAGE = "store_page"


def check_experiment(
    experiment: Experiment, text: TomlText, *, others: Sequence[Experiment] = (), now: datetime | None = None
) -> Iterator[Finding]:
    """Findings on an experiment whose file is `text`; `others` run beside it, `now` = it is to be started then."""
    yield from _guardrails(experiment, text)
    yield from _unit(experiment, text)
    yield from _ramp(experiment, text)
    for other in others:
        if reason := conflict(experiment, other):
            yield _finding(text, ("layer",), f"{reason}.", "The engine would not follow it.", rule="conflict")
    if all(variant.as_in_force for variant in experiment.variants):
        reason = "no variant changes policy, recipes or bundle: the engine draws and logs it, and answers all alike."
        fix = "Leave it so where the shop front changes, or for a comparison of the same with the same."
        yield _finding(text, ("variants",), reason, fix, severity=Severity.WARNING, rule="change")
    if now is not None and experiment.end <= now:
        reason = f"it ended {experiment.end:%Y-%m-%d %H:%M} UTC."
        yield _finding(text, ("start",), reason, "Write a start from now on.", rule="time")


def _guardrails(experiment: Experiment, text: TomlText) -> Iterator[Finding]:
    if not experiment.guardrails:
        reason = "there is no guardrail: nothing would stop a variant that harms, and the ramp never advances."
        fix = 'Write [[guardrails]] with metric = "net_gmv_per_user" and at_least = -0.02, or so.'
        yield _finding(text, (), reason, fix, rule="guardrails")
    for number, guardrail in enumerate(experiment.guardrails):
        cost = abs(guardrail.bound) * experiment.ramp.steps[-1]
        if cost > experiment.ramp.risk * (1 + 1e-9):
            reason = (
                f"a change of {guardrail.bound:+.1%}, which {guardrail.metric} may make, costs {cost:.2%} at the last "
                f"step, above the ramp's risk of {experiment.ramp.risk:.2%}: the ramp asks for more than the guardrail."
            )
            fix = f"Write ramp.risk = {cost:.3g}, or a margin that fits it."
            yield _finding(text, ("guardrails", number), reason, fix, severity=Severity.WARNING, rule="guardrails")


def _unit(experiment: Experiment, text: TomlText) -> Iterator[Finding]:
    unit = experiment.unit
    per_user = [
        name
        for name in (*experiment.metrics.names, *(one.metric for one in experiment.guardrails))
        if EXPERIMENT_METRICS[name].denominator == "units" and unit is not AssignmentUnit.USER
    ]
    if per_user:
        names = ", ".join(dict.fromkeys(per_user))
        reason = f"the unit is a {unit.value.replace('_', ' ')}, and so {names} would count those, not users."
        fix = 'Choose metrics per session or impression, or unit = "user".'
        yield _finding(text, ("unit",), reason, fix, severity=Severity.WARNING, rule="unit")
    if unit is AssignmentUnit.SESSION:
        reason = "one shopper meets several variants in as many visits: what the first did to them is in the second."
        yield _finding(text, ("unit",), reason, 'Write unit = "user".', severity=Severity.WARNING, rule="unit")
    if unit is AssignmentUnit.MERCHANT and experiment.surfaces != (STORE_PAGE,):
        reason = "only store pages have a merchant: requests of other surfaces would be in no variant."
        fix = f'Write surfaces = ["{STORE_PAGE}"].'
        yield _finding(text, ("unit",), reason, fix, rule="unit")


def _ramp(experiment: Experiment, text: TomlText) -> Iterator[Finding]:
    ramp = timedelta(hours=experiment.ramp.hours) * (len(experiment.ramp.steps) - 1)
    if experiment.start + ramp >= experiment.end:
        reason = f"the ramp alone takes {ramp / timedelta(days=1):.3g} days of {experiment.days:g}."
        fix = "Write more days, fewer steps, or fewer hours."
        yield _finding(text, ("ramp",), reason, fix, rule="ramp")


def _finding(
    text: TomlText, path: KeyPath, reason: str, fix: str, *, rule: str, severity: Severity = Severity.ERROR
) -> Finding:
    return Finding(rule, text.where(*path), reason, fix, severity)
