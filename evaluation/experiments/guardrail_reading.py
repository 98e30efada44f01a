"""Reading of guardrails: what no variant may lose, by one-sided bounds that hold at every look.

All that may raise an alarm share the file's alpha. An interleaved policy is held against what is in force by its own
effect too: lists that mix both show a part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from evaluation.estimate import Estimate
from evaluation.experiments.effects import Contrast, Missing
from evaluation.experiments.experiment_file import Experiment, ExperimentGuardrail
from evaluation.experiments.interleaved_reading import InterleavedReading
from evaluation.experiments.looks import Look
from evaluation.experiments.metrics import EXPERIMENT_METRICS, ExperimentMetric
from evaluation.experiments.sums import UNITS

VISITS = (UNITS, "sessions", "impressions")  # what two policies over the same requests have in common
RelativeContrast = Callable[[ExperimentMetric, str], Contrast]  # of a variant against the control


class GuardrailState(StrEnum):
    SAFE = "safe"
    OPEN = "open"
    HARMED = "harmed"


@dataclass(frozen=True)
class GuardrailReading:
    """`low` and `high`: one-sided any-time bounds of the relative change.

    `rival`: the change is that of the interleaved policy against the one in force, not of lists that mix both.
    """

    guardrail: ExperimentGuardrail
    variant: str
    relative: Estimate | Missing
    state: GuardrailState
    rival: bool = False

    def __str__(self) -> str:
        return f"{self.guardrail}, by its interleaved policy" if self.rival else str(self.guardrail)


def guardrail_readings(
    experiment: Experiment, look: Look, contrast: RelativeContrast, interleaved: Sequence[InterleavedReading]
) -> Iterator[GuardrailReading]:
    """Every guardrail of every variant by its `contrast`, and of interleaved policies where their outcomes tell."""
    rivals = [
        (guardrail, one)
        for one in interleaved
        for guardrail in experiment.guardrails
        if (metric := EXPERIMENT_METRICS[guardrail.metric]).numerator == one.outcome and metric.denominator in VISITS
    ]
    alarms = max(len(experiment.guardrails) * len(experiment.treatments) + len(rivals), 1)
    for variant in experiment.treatments:
        for guardrail in experiment.guardrails:
            change = contrast(EXPERIMENT_METRICS[guardrail.metric], variant.name)
            yield _guardrail(guardrail, variant.name, change, look, alarms)
    for guardrail, one in rivals:
        yield replace(_guardrail(guardrail, one.variant, one.contrast, look, alarms), rival=True)


def _guardrail(
    guardrail: ExperimentGuardrail, variant: str, contrast: Contrast, look: Look, alarms: int
) -> GuardrailReading:
    margins = look.margins(contrast, alarms=alarms)
    if isinstance(margins, Missing):
        return GuardrailReading(guardrail, variant, margins, GuardrailState.OPEN)
    relative = Estimate(float(contrast.value), margins[0].low, margins[1].high, int(contrast.n), 1 - look.alpha)
    return GuardrailReading(guardrail, variant, relative, _state(guardrail, contrast, look, alarms))


def _state(guardrail: ExperimentGuardrail, contrast: Contrast, look: Look, alarms: int) -> GuardrailState:
    """Safe where the change surely stays within the margin, harmed where it is surely beyond."""
    turned = Contrast(guardrail.sign * contrast.value, *list(vars(contrast).values())[1:])
    margins = look.margins(turned, alarms=alarms)
    assert not isinstance(margins, Missing)
    bound = guardrail.sign * guardrail.bound
    if margins[1].high < bound:
        return GuardrailState.HARMED
    return GuardrailState.SAFE if margins[0].low > bound else GuardrailState.OPEN
