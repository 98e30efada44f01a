"""Conclusion: what to do with each variant, in the order in which questions are to be put.

0. Was it stopped? Then that is all.
1. Is the comparison one of like with like? If not, nothing else is read.
2. Is a guardrail broken? Then the variant is stopped, whatever it brings.
3. May a decision rest on this look? A rule that plans its looks forbids the others.
4. Does the primary metric surely rise, and are all guardrails surely held? Then it is shipped.
5. Does it surely fall, or is the least effect worth finding surely out of reach? Then it is dropped.
6. Else the experiment goes on, or ends without proof.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from evaluation.estimate import Estimate
from evaluation.experiments.effects import Missing
from evaluation.experiments.guardrail_reading import GuardrailState
from evaluation.experiments.reading import ExperimentReading
from evaluation.experiments.trust import TrustLevel


class NextMove(StrEnum):
    MEND = "mend"
    STOP = "stop"
    STOPPED = "stopped"
    SHIP = "ship"
    DROP = "drop"
    GO_ON = "go on"
    NOT_PROVEN = "not proven"


@dataclass(frozen=True)
class Conclusion:
    """The next move for `variant`, and why in one sentence."""

    variant: str
    move: NextMove
    reason: str

    def __str__(self) -> str:
        heads = {
            NextMove.MEND: "Do not read",
            NextMove.STOP: "Stop",
            NextMove.STOPPED: "Stopped already is",
            NextMove.SHIP: "Ship",
            NextMove.DROP: "Drop",
            NextMove.GO_ON: "Go on with",
            NextMove.NOT_PROVEN: "Nothing is proven of",
        }
        return f"{heads[self.move]} {self.variant}: {self.reason}"


def conclusions(reading: ExperimentReading) -> tuple[Conclusion, ...]:
    """One a treatment, in the file's order."""
    return tuple(next(_moves(reading, variant.name)) for variant in reading.experiment.treatments)


def _moves(reading: ExperimentReading, variant: str) -> Iterator[Conclusion]:
    """All that holds of the variant, most pressing first; the last always holds."""
    if variant in reading.stops:
        so_far = f"{reading.experiment.metrics.primary} had changed by {percent(reading.primary(variant).relative)}"
        reason = f"{so_far} when that happened, {reading.stops[variant]:%Y-%m-%d %H:%M} UTC."
        yield Conclusion(variant, NextMove.STOPPED, reason)
    broken = [check.name for check in reading.trust if check.level is TrustLevel.BROKEN]
    if broken:
        reason = f"{', '.join(broken)} is broken, so that effects may be those of who was lost. Find out why first."
        yield Conclusion(variant, NextMove.MEND, reason)
    rails = [one for one in reading.guardrails if one.variant == variant]
    for rail in rails:
        if rail.state is GuardrailState.HARMED:
            reason = f"the guardrail {rail} is surely broken ({percent(rail.relative)})."
            yield Conclusion(variant, NextMove.STOP, reason)
    metric, relative = reading.experiment.metrics.primary, reading.primary(variant).relative
    over = reading.look.elapsed >= 1
    if not reading.look.allowed:
        yield Conclusion(variant, NextMove.GO_ON, f"the first planned look is at {_next_look(reading)}.")
    if isinstance(relative, Missing):
        yield Conclusion(variant, _later(over), f"{metric} is missing: {relative.reason}.")
        return
    least = reading.experiment.metrics.minimum_effect
    open_rails = [str(rail) for rail in rails if rail.state is GuardrailState.OPEN]
    if relative.low > 0 and not open_rails:
        yield Conclusion(variant, NextMove.SHIP, f"{metric} rises by {percent(relative)} and no guardrail suffers.")
    if relative.low > 0:
        reason = f"{metric} rises by {percent(relative)}, but it is not yet sure that {' and '.join(open_rails)}."
        yield Conclusion(variant, _later(over), reason)
    if relative.high < 0:
        yield Conclusion(variant, NextMove.DROP, f"{metric} falls by {percent(relative)}.")
    if relative.high < least:
        reason = f"{metric} changes by {percent(relative)}: the {least:+.1%} worth finding is out of reach."
        yield Conclusion(variant, NextMove.DROP, reason)
    yield Conclusion(variant, _later(over), f"{metric} changes by {percent(relative)}, which may still be nothing.")


def percent(estimate: Estimate | Missing) -> str:
    """A relative change with its interval, in per cent; a missing one with its reason."""
    if isinstance(estimate, Missing):
        return str(estimate)
    return f"{estimate.value:+.1%} [{estimate.low:+.1%}, {estimate.high:+.1%}]"


def _later(over: bool) -> NextMove:
    return NextMove.NOT_PROVEN if over else NextMove.GO_ON


def _next_look(reading: ExperimentReading) -> str:
    experiment, look = reading.experiment, reading.look
    planned = look.looks if look.rule.value == "group_sequential" else 1
    nearest = (len(look.fractions) + 1) / planned
    return f"{experiment.start + timedelta(days=experiment.days * nearest):%Y-%m-%d %H:%M} UTC"
