"""Canary: a newly trained run against the one in force, on the newest requests, which neither has learned.

Both predict the rows of the new run's test period as they would serve them, and are judged by the objective that runs
choose their ranker by (`jobs.choice`). The new one is refused where it is worse beyond chance, and where more heads are
surely off that the policy in force pays for: a market that moved is no reason to keep what is off as far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from evaluation.estimate import Estimate
from jobs.choice import choose
from jobs.earlier_run import encoder_of
from jobs.prepare import prepare
from jobs.run_folder import RunFolder
from jobs.run_rankers import choice_of, served_ranker
from jobs.train_ranker import held_out, seen_places
from marketplace.heads import recorded_heads
from marketplace.slate_columns import to_numpy
from value_model.formula import ValuePolicy
from value_model.policy_checks.calibration import calibration_by_surface
from value_model.policy_checks.on_slates import miscalibrated
from value_model.rankers.batches import take
from value_model.rankers.ranker import Predictions, RankingData

NEW, IN_FORCE = "new", "in force"


@dataclass(frozen=True)
class Canary:
    """By how much the objective of the new run is above that of the one in force, on so many `requests`.

    `off`: heads that are off, and paid for, by each of NEW and IN_FORCE.
    """

    gain: Estimate
    requests: int
    off: Mapping[str, tuple[str, ...]]

    @property
    def refusal(self) -> str | None:
        """Why the new one is not to serve; None where it may."""
        if self.gain.high < 0:
            return f"worse than what is in force: {self}"
        if len(self.off[NEW]) > len(self.off[IN_FORCE]):
            return f"more is off than of what is in force: {' '.join(self.off[NEW])}"
        return None

    def __str__(self) -> str:
        gain = self.gain
        return f"objective {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] on {self.requests:,} requests"


def canary(run: RunFolder, before: RunFolder, policy: ValuePolicy) -> Canary:
    """`run` goes on from `before`, on data that hold its days too; `policy` is in force over either."""
    prepared = prepare(run)
    assert prepared is not None  # it goes on from a run that has heads
    assert prepared.frame is not None
    test = prepared.period.test
    data = prepared.part(test)
    (ranker, calibration), encoded = served_ranker(before), encoder_of(before).encode(prepared.frame)
    inputs = take(replace(prepared.data, inputs=encoded), np.flatnonzero(test), offsets=prepared.offsets).inputs
    opinions = {
        IN_FORCE: calibration(ranker.predict(inputs), inputs),
        NEW: held_out(run, choice_of(run).served),
    }
    requests = prepared.slates.filter(pa.array(test))
    surface, shopper = (to_numpy(requests[name]) for name in ("surface", "user_id"))
    gains = run.config.choice.gains
    seen = seen_places(opinions, data, surface, gains=gains)
    rng = np.random.default_rng(run.config.seed)
    choice = choose(opinions, data, examination=seen, shopper=shopper, rng=rng, gains=gains)
    behind = choice.behind[NEW if choice.served == IN_FORCE else IN_FORCE]
    gain = behind if choice.served == NEW else replace(behind, value=-behind.value, low=-behind.high, high=-behind.low)
    off = {name: off_heads(predicted, data, surface, policy) for name, predicted in opinions.items()}
    return Canary(gain, len(requests), off)


def off_heads(predicted: Predictions, data: RankingData, surface: np.ndarray, policy: ValuePolicy) -> tuple[str, ...]:
    """The heads that `policy` pays for and that are surely off on a surface; surface [R] text."""
    heads = [head for head in recorded_heads(data.labels) if head.name in predicted]
    happened = {h.name: np.where(h.rows(data.labels) & (data.weight > 0), data.labels[h.label], np.nan) for h in heads}
    promised = {head.name: np.asarray(predicted[head.name], np.float64) for head in heads}
    ratios = calibration_by_surface(promised, happened, data.inputs.request, surface.astype(str))
    return tuple(finding.reason for finding in miscalibrated(policy, ratios))
