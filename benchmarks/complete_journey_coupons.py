"""Complete Journey's campaign 18: what do its coupons add to a household's sales? Nobody drew who got them.

1,133 of 2,469 households were sent coupons on 30 October 2017, good for eight weeks; outcome: their sales in them.
Assumed, and not to be tested here: given sales, baskets and coupon discounts of the months before, who was sent them
does not depend on what would have been spent; one household's coupons do not touch another's. The placebo asks the
same of the eight weeks before, from what was known then: it should be 0, and what it misses the other misses too.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.record import Measure, record, skip
from evaluation import bootstrap
from evaluation.uplift.held_out import held_out_effects
from evaluation.uplift.learners import LEARNERS
from evaluation.uplift.measures import score_metrics
from evaluation.uplift.overlap import NoOverlap
from evaluation.uplift.trial import Trial
from marketplace.datasets.complete_journey import package_folder
from value_model.rankers.tree_learner import TRIAL_TREES, TreeLearner

SEED, CAMPAIGN, WEEKS = 7, 18, 8
START = datetime(2017, 10, 30, tzinfo=UTC)
TREES = TreeLearner(config=replace(TRIAL_TREES, min_rows=50, leaves=4))
BEFORE = ((-4, 0), (-8, -4), (-16, -8), (-32, -16))  # weeks of what is known


def main() -> None:
    try:
        folder = package_folder()
    except FileNotFoundError as error:
        skip("complete_journey_coupons", str(error))
    measures = []
    for name, start in (("sales with coupons", START), ("placebo", START - timedelta(weeks=WEEKS))):
        measures += answers(name, households(folder, start))
    record("complete_journey_coupons", measures, data="Complete Journey, campaign 18, 2,469 households", seed=SEED)


def answers(name: str, trial: Trial) -> list[Measure]:
    """The plain difference, and the doubly robust one with its interval; the first alone where arms do not overlap."""
    raw = trial.outcome[trial.arm == 1].mean() - trial.outcome[trial.arm == 0].mean()
    measures = [Measure(f"{name}: plain difference", float(raw), "USD / household")]
    rng = np.random.default_rng(SEED)
    try:
        held_out = held_out_effects(trial, TREES, rng, learners={"DR": LEARNERS["DR"]})
    except NoOverlap as error:
        print(error)
        return measures
    samples = bootstrap.resample(len(trial.arm), rng, replicates=500)
    scores = held_out.nuisances.scores(trial)[:, 0]
    metrics = score_metrics(held_out.effects["DR"][:, 0], scores, samples=samples, part=held_out.part)
    for key, what in (("ate", "doubly robust"), ("autoc", "AUTOC of the effects by DR")):
        answer = metrics[key].estimate()
        measures.append(Measure(f"{name}: {what}", answer.value, "USD / household", None, (answer.low, answer.high)))
    return measures


def households(folder: Path, start: datetime) -> Trial:
    """One row a household: its sales from `start` on, by whether it was sent coupons, and what was known before."""
    lines = pd.read_parquet(folder / "transactions.parquet")
    names = np.sort(lines["household_id"].unique())
    week = (pd.to_datetime(lines["transaction_timestamp"], utc=True) - start).dt.total_seconds() / (7 * 86_400)
    sums = [_sums(lines[(week >= low) & (week < high)], names) for low, high in BEFORE]
    outcome = _sums(lines[(week >= 0) & (week < WEEKS)], names)[:, 0]
    campaigns = pd.read_parquet(folder / "campaigns.parquet")
    sent = campaigns.loc[campaigns["campaign_id"].astype(int) == CAMPAIGN, "household_id"]
    return Trial(np.column_stack(sums), np.isin(names, sent).astype(np.int64), outcome, ("none", "coupons"))


def _sums(lines: pd.DataFrame, names: np.ndarray) -> np.ndarray:
    """[households, 3]: sales, coupon discounts, baskets."""
    groups = lines.groupby("household_id")
    columns = [groups["sales_value"].sum(), groups["coupon_disc"].sum(), groups["basket_id"].nunique()]
    return np.column_stack([column.reindex(names, fill_value=0).to_numpy(np.float64) for column in columns])


if __name__ == "__main__":
    main()
