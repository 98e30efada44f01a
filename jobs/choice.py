"""The choice of the served ranker: the one that orders best what is yet to come, as far as a log can tell.

    DCG per gain of a head = sum of gain / log2(1 + rank by the head) over the first K / sum of gains,
    gain = what happened / P(examined) of the place where it was shown
    objective = mean over the heads that speak of every item shown

What happened is an event, or an amount. Without the weight, a ranker that guesses the old places would win, which is
right where they stay (`choice.gains = "recorded"`) and else not; sums over all requests keep it, where NDCG, a ratio
within each request, cancels it. Log losses are left aside: they also pay for telling requests apart, which ranks
nothing.
Sources: Joachims et al. 2017, Unbiased Learning-to-Rank with Biased Feedback; Swaminathan and Joachims 2015, The
Self-Normalized Estimator for Counterfactual Learning, for the ratio of sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from evaluation import bootstrap, ranking
from evaluation.bias.examination import examination_curves, inverse_examination
from evaluation.bootstrap import Resampled
from evaluation.estimate import Estimate
from jobs.config import DEBIASED, RECORDED
from marketplace.heads import per_impression, recorded_heads
from value_model.rankers.batches import request_offsets
from value_model.rankers.ranker import Predictions, RankingData

K = 10
OBJECTIVES = {
    DEBIASED: f"mean over heads of DCG@{K} per gain, gains weighed by inverse examination",
    RECORDED: f"mean over heads of DCG@{K} per gain, gains as recorded",
}


@dataclass(frozen=True)
class Choice:
    """The served one of several rankers, the objective of each, and how far each is behind, paired by request.

    `gains`: what they count, a key of OBJECTIVES.
    """

    served: str
    objective: Mapping[str, Estimate]
    behind: Mapping[str, Estimate]
    gains: str = DEBIASED

    def __str__(self) -> str:
        figures = ", ".join(f"{name} {one.value:.4f}" for name, one in self.objective.items())
        gaps = ", ".join(f"{name} {gap.low:+.4f} .. {gap.high:+.4f}" for name, gap in self.behind.items())
        return f"{self.served} is served: {OBJECTIVES[self.gains]}, on validation: {figures}; behind it: {gaps}"

    @property
    def facts(self) -> dict[str, str | float]:
        """What a bundle says of it."""
        figures = {f"ranker_objective_{name}": one.value for name, one in self.objective.items()}
        return {"ranker": self.served, "ranker_objective": OBJECTIVES[self.gains], **figures}

    def to_json(self) -> dict[str, Any]:
        estimates = {"objective": self.objective, "behind": self.behind}
        rows = {key: {name: asdict(one) for name, one in some.items()} for key, some in estimates.items()}
        return {"served": self.served, "gains": self.gains, **rows}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Choice:
        objective, behind = (
            {name: Estimate(**one) for name, one in row[key].items()} for key in ("objective", "behind")
        )
        return cls(row["served"], objective, behind, row.get("gains", DEBIASED))


def choose(
    models: Mapping[str, Predictions],
    data: RankingData,
    *,
    examination: np.ndarray,
    shopper: np.ndarray,
    rng: np.random.Generator,
    gains: str = DEBIASED,
) -> Choice:
    """The model of the highest objective on `data`; intervals over shoppers.

    `examination` [N]: P(examined) of each row's place, 1 where `gains` are as recorded. `shopper` [R]: whose request.
    """
    offsets = request_offsets(data.inputs.request, len(shopper))
    samples = bootstrap.resample(len(shopper), rng, shopper=shopper)
    heads = per_impression([head.name for head in recorded_heads(data.labels)])
    counted = {head.name: head.rows(data.labels) & (data.weight > 0) for head in heads}
    gain = {h.name: np.where(counted[h.name], data.labels[h.label] / examination, 0.0) for h in heads}
    objective = {name: _objective(predicted, gain, offsets, counted, samples) for name, predicted in models.items()}
    served = max(objective, key=lambda name: objective[name].value)
    behind = {name: (objective[served] - one).estimate() for name, one in objective.items() if name != served}
    return Choice(served, {name: one.estimate() for name, one in objective.items()}, behind, gains)


def _objective(
    predicted: Predictions,
    gains: Mapping[str, np.ndarray],
    offsets: np.ndarray,
    counted: Mapping[str, np.ndarray],
    samples: bootstrap.Samples,
) -> Resampled:
    happened = {head: gain for head, gain in gains.items() if gain.any()}
    if not happened:
        return Resampled(0.0, np.zeros(len(samples.counts)), 0)
    ranked = {head: ranking.rank(predicted[head], offsets, where=counted[head]) for head in happened}
    reached = np.column_stack([ranking.dcg(ranked[head], gain, k=K) for head, gain in happened.items()])
    request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    possible = np.column_stack([np.bincount(request, gain, len(offsets) - 1) for gain in happened.values()])
    reached = np.nan_to_num(reached)  # a request without a row
    value = (reached.sum(axis=0) / possible.sum(axis=0)).mean()
    with np.errstate(invalid="ignore"):  # a sample without any gain
        draws = bootstrap.totals(reached, samples) / bootstrap.totals(possible, samples)
    return Resampled(float(value), draws.mean(axis=1), len(np.unique(samples.shopper)))


def examination(data: RankingData, expected: np.ndarray | None, surface: np.ndarray) -> np.ndarray:
    """float64 [N]: P(examined) of each row's place, from its clicks over those `expected` [N]; 1 where it is not known.

    `expected` None = nothing predicts clicks. `surface` [R]. At least a tenth, so that no single event decides.
    """
    known = np.ones(len(data.position))
    if expected is None or "click" not in data.labels or not data.position.any():
        return known
    by_row = surface[data.inputs.request]
    shown = (data.position > 0) & (data.weight > 0) & ~np.isnan(data.labels["click"])
    columns = (data.position, data.labels["click"], expected, by_row)
    for name, curve in examination_curves(*(column[shown] for column in columns)).items():
        rows = (by_row == name) & shown
        known[rows] = 1 / inverse_examination(curve, data.position[rows])
    return known
