"""The ramp's rule: a variant that surely harms is stopped, and more units see the others only as the risk allows.

1. A variant stops where a guardrail's change is surely beyond its margin: the one-sided bound holds at every look, so
   that looking every few seconds stops a harmless variant with probability alpha at most, all guardrails together.
2. The ramp is held while units are lost or counted twice, while anything that it rests on is missing, until its step
   has lasted its hours, and until every variant has FEWEST units.
3. The next step may cost share x worst of a guardrail's metric, `share` of the units under the variant at that step and
   `worst` the largest loss that its bound does not refuse. It is taken where that is `ramp.risk` at most (Xu, Duan &
   Huang 2018, "SQR: Balancing Speed, Quality and Risk in Online Experiments").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from evaluation.experiments.decisions import DecisionKind, ExperimentDecision
from evaluation.experiments.effects import Missing
from evaluation.experiments.experiment_folder import Phase, PlacedExperiment
from evaluation.experiments.guardrail_reading import GuardrailReading, GuardrailState
from evaluation.experiments.reading import ExperimentReading
from evaluation.experiments.trust import TrustLevel

FEWEST = 100  # units a variant: bounds are asymptotic
WATCH = "watch"  # who decides by this rule


@dataclass(frozen=True)
class RampMove:
    """What is to be done now (None = nothing) and why in one sentence; `when`: no earlier move is possible."""

    decision: ExperimentDecision | None
    sentence: str
    when: datetime | None = None


def ramp_move(placed: PlacedExperiment, reading: ExperimentReading, *, now: datetime) -> RampMove:
    """The next move of an experiment, by what its log tells."""
    phase, one = placed.phase(now), placed.experiment
    if phase is not Phase.RUNNING:
        return RampMove(None, f"{phase}", one.start if phase is Phase.WAITING else None)
    judged = [reading for reading in reading.guardrails if reading.variant not in placed.state.stopped]
    if harmed := [one for one in judged if one.state is GuardrailState.HARMED and _enough(reading, one.variant)]:
        variants = tuple(dict.fromkeys(one.variant for one in harmed))
        sentence = "stopped: " + "; ".join(map(_harm, harmed))
        return RampMove(_decision(DecisionKind.STOP, placed, reading, sentence, now, variants=variants), sentence)
    judged = [one for one in judged if not one.rival]  # the next step shows lists that mix, as this one does
    if placed.step + 1 >= len(one.ramp.steps):
        return RampMove(None, "the ramp is at its last step", one.end)
    when = (placed.state.since or one.start) + timedelta(hours=one.ramp.hours)
    if reason := next(_held(placed, reading, judged, when=when, now=now), None):
        return RampMove(None, f"held: {reason}", max(when, now))
    sentence = f"to {one.ramp.steps[placed.step + 1]:.3g}: {_worst(placed, judged)}"
    return RampMove(_decision(DecisionKind.RAMP, placed, reading, sentence, now, step=placed.step + 1), sentence)


def _held(
    placed: PlacedExperiment,
    reading: ExperimentReading,
    judged: list[GuardrailReading],
    *,
    when: datetime,
    now: datetime,
) -> Iterator[str]:
    """Why the next step is not taken yet."""
    for check in reading.trust:
        if check.level is TrustLevel.BROKEN:
            yield f"{check.name} is broken. {check.sentence}"
    if not judged:
        yield "the file has no guardrail, and without one no step is safe"
    for one in judged:
        if isinstance(one.relative, Missing):
            yield f"{one.guardrail} of {one.variant} is {one.relative}"
    if now < when:
        yield f"the step lasts until {when:%Y-%m-%d %H:%M} UTC at least"
    for name, units in reading.units.items():
        if name not in placed.state.stopped and units < FEWEST:
            yield f"{name} has {units} units of {FEWEST} that a bound needs"
    for one in judged:
        share, worst = _share_of(placed, one.variant), _loss(one)
        if share * worst > placed.experiment.ramp.risk:
            yield (
                f"{one.guardrail} of {one.variant} may have lost {worst:.1%}, at a share of {share:.3g} that is "
                f"{share * worst:.2%} of all, above the risk of {placed.experiment.ramp.risk:.2%}"
            )


def _share_of(placed: PlacedExperiment, variant: str) -> float:
    """Of the layer's part, at the next step."""
    one = placed.experiment
    return one.exposure(placed.step + 1) * one[variant].share


def _loss(one: GuardrailReading) -> float:
    """The largest relative loss that the guardrail's bound does not refuse; 0 where all that is left is gain."""
    assert not isinstance(one.relative, Missing)
    return max(0.0, -one.relative.low if one.guardrail.sign > 0 else one.relative.high)


def _worst(placed: PlacedExperiment, judged: list[GuardrailReading]) -> str:
    cost, name = max((_share_of(placed, one.variant) * _loss(one), str(one.guardrail)) for one in judged)
    return f"it costs {cost:.2%} of {name.split()[0]} at worst, within the risk of {placed.experiment.ramp.risk:.2%}"


def _harm(one: GuardrailReading) -> str:
    assert not isinstance(one.relative, Missing)
    changes = "would change" if one.rival else "changes"
    bound = f"{one.relative.high:+.1%} at most" if one.guardrail.sign > 0 else f"{one.relative.low:+.1%} at least"
    return (
        f"{one.variant} {changes} {one.guardrail.metric} by {one.relative.value:+.1%}, {bound} at any look, beyond "
        f"{one.guardrail.bound:+.1%}"
    )


def _enough(reading: ExperimentReading, variant: str) -> bool:
    return min(reading.units[variant], reading.units[reading.experiment.control]) >= FEWEST


def _decision(
    kind: DecisionKind,
    placed: PlacedExperiment,
    reading: ExperimentReading,
    sentence: str,
    now: datetime,
    *,
    step: int = 0,
    variants: tuple[str, ...] = (),
) -> ExperimentDecision:
    version, numbers = placed.experiment.version, numbers_of(reading)
    return ExperimentDecision(kind, now, WATCH, sentence, version, step, variants, numbers)


def numbers_of(reading: ExperimentReading) -> Mapping[str, float | None]:
    """Units by variant, and of each guardrail the relative change with its bounds; None = missing."""
    numbers: dict[str, float | None] = {f"units of {name}": float(units) for name, units in reading.units.items()}
    for one in reading.guardrails:
        missing = isinstance(one.relative, Missing)
        for part in ("value", "low", "high"):
            name = f"{one.guardrail.metric} of {one.variant}{', interleaved' if one.rival else ''}, {part}"
            numbers[name] = None if missing else float(getattr(one.relative, part))
    return numbers
