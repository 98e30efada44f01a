"""Canary: a newly trained run against the one in force, on the newest requests, which neither has learned.

Both predict the rows of the new run's test period as they would serve them, and are judged by the objective that runs
choose their ranker by (`jobs.choice`). The new one is refused where it is worse beyond chance.
"""

from __future__ import annotations

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
from marketplace.slate_columns import to_numpy
from value_model.rankers.batches import take

NEW, IN_FORCE = "new", "in force"


@dataclass(frozen=True)
class Canary:
    """By how much the objective of the new run is above that of the one in force, on so many `requests`."""

    gain: Estimate
    requests: int

    @property
    def refusal(self) -> str | None:
        """Why the new one is not to serve; None where it may."""
        return f"worse than what is in force: {self}" if self.gain.high < 0 else None

    def __str__(self) -> str:
        gain = self.gain
        return f"objective {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] on {self.requests:,} requests"


def canary(run: RunFolder, before: RunFolder) -> Canary:
    """`run` goes on from `before`, on data that hold its days too."""
    prepared = prepare(run)
    assert prepared is not None  # it goes on from a run that has heads
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
    return Canary(gain, len(requests))
