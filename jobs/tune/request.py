"""Tuning request: objective, constraints and weights of the command line, checked against what the log can tell."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from value_model.formula import Constraint, ValuePolicy, parse_constraint
from value_model.formula.metrics import STANDARD
from value_model.tuning import Dimension, Evidence, Goal
from value_model.tuning.credits import credit_names
from value_model.tuning.metrics import known_metrics

SEED = 0  # of the split and the search: the same request has the same result


@dataclass(frozen=True)
class TuneRequest:
    """`names` are the weights that are searched; `front` the metrics whose trade-off is drawn, the objective last."""

    goal: Goal
    names: tuple[str, ...]
    front: tuple[str, ...]
    by: Dimension | None = None
    trials: int = 240

    def study(self, evidence: Evidence, policy: ValuePolicy) -> str:
        """The search's name: the same for the same request of the same log, so that it goes on."""
        constraints = sorted(f"{c.subject} {c.bound!r} {c.confidence!r}" for c in self.goal.constraints)
        held = self.goal.baseline or policy
        words = [self.goal.maximise, *constraints, *sorted(self.names), self.by or "", policy.version, held.version]
        digest = hashlib.sha256("\n".join(words).encode())
        parts = (evidence.slates.columns, evidence.feedback, evidence.predicted, evidence.traits)
        columns = [column for part in parts for column in part.values()]
        for column in (evidence.position, evidence.examination, *columns):
            digest.update(column.tobytes())
        if evidence.exposure is not None:
            digest.update(evidence.exposure.tobytes())
        return f"{self.goal.maximise} {digest.hexdigest()[:12]}"


def tune_request(
    evidence: Evidence,
    policy: ValuePolicy,
    *,
    maximise: str,
    hold: Sequence[str] = (),
    weights: str = "",
    front: str = "",
    by: str | None = None,
    trials: int = 240,
    baseline: ValuePolicy | None = None,
) -> TuneRequest:
    """From the command's options: `hold` lines replace the policy's constraints; names are separated by commas.

    `baseline`: what changes are bounded against, None = the policy.

    Raises ValueError for metrics that the log does not tell, and for weights that the policy does not have or whose
    bounds leave nothing above 0 to search.
    """
    known = [m.name for m in known_metrics(STANDARD, credit_names(evidence))]
    constraints = tuple(map(parse_constraint, hold)) or policy.constraints
    drawn = _listed(front) or _trade_off(maximise, constraints, known)
    for name in dict.fromkeys((maximise, *(c.metric for c in constraints), *drawn)):
        if name not in known:
            raise ValueError(f"the log tells nothing of {name!r}; it tells of {', '.join(known)}.")
    if len(drawn) < 2:
        raise ValueError(f"a front needs two metrics or more; received {front!r}. Write such as --front ctr,gmv.")
    searchable = tuple(w.name for w in policy.weights if w.term and w.high > 0)
    names = _listed(weights) or searchable
    if unknown := [name for name in names if name not in searchable]:
        raise ValueError(f"weights {unknown} cannot be searched; policy {policy.name!r} has {', '.join(searchable)}.")
    if trials < 1:
        raise ValueError(f"trials is {trials}; write 1 or more.")
    return TuneRequest(
        Goal(maximise, constraints, baseline), names, drawn, None if by is None else Dimension(by), trials
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _trade_off(maximise: str, constraints: Sequence[Constraint], known: Sequence[str]) -> tuple[str, ...]:
    """The objective against the first metric that is held, or that is known."""
    others = [name for name in (*(c.metric for c in constraints), *known) if name != maximise]
    return (*others[:1], maximise)
