"""Group offsets: what a surface or a segment adds to a head's calibrator, leaning on the others by partial pooling.

With d[g] the offset of group g and f the calibrated head:
- a probability p becomes p e / (1 - p + p e), e = exp(d[g]): log odds shifted by d[g];
- an amount v becomes v exp(d[g]).
Within a group the order of rows stays. d[g] is drawn from Normal(c, s^2): c makes all groups together right, s^2 comes
by expectation-maximisation (empirical Bayes) from all groups and PRIOR_GROUPS of PRIOR_VARIANCE, so that a group of
little evidence stays near c, and a few groups that hardly differ are not held to be the same; evidence is discounted by
how much the residuals of one request go together. A head that completes a product is fitted where the product is
observed, on every row: `exposure` times the head is what is expected there (ctr x cvr of orders, ctcvr x order_value of
amounts), so that what weights pay for is right even where the factors' errors go together.
Sources: Gelman and Hill 2007, Data Analysis Using Regression and Multilevel/Hierarchical Models, chapter 12; Chung et
al. 2013, A nondegenerate penalized likelihood estimator for variance parameters in multilevel models.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from features.encoder import Encoder
from features.spec import Group, Kind, ModelInputs

CENTRING = 20  # Newton steps of the offset of all rows together
ROUNDS = 200  # of expectation-maximisation; each has a Newton step of the offsets
PRIOR_GROUPS, PRIOR_VARIANCE = 2, 0.15**2  # surfaces differ by some 15 % where nothing is known
STEP = 1.0  # the longest Newton step, in log odds or log amounts


@dataclass(frozen=True)
class GroupCodes:
    """The groups of rows: `column` of the user codes holds `feature`; `size` codes there are."""

    feature: str
    column: int
    size: int

    def of(self, inputs: ModelInputs) -> np.ndarray:
        """int32 [N]."""
        return inputs.user_codes[:, self.column][inputs.request]


@dataclass(frozen=True)
class GroupOffsets:
    """The offsets of one head by the code of a user category; `column` is its place among the user codes."""

    feature: str
    column: int
    offsets: tuple[float, ...]

    @property
    def ratios(self) -> np.ndarray:
        """float64 [codes]: what multiplies odds or amounts."""
        return np.exp(np.array(self.offsets))

    def of(self, inputs: ModelInputs) -> np.ndarray:
        """float64 [N]: the ratio of each row."""
        return self.ratios[inputs.user_codes[:, self.column]][inputs.request]


def groups_of(encoder: Encoder, names: Iterable[str]) -> tuple[GroupCodes, ...]:
    """The user categories among `names`, in that order."""
    known = [feature.name for feature in encoder.spec.select(Group.USER, Kind.CATEGORY)]
    table = {feature.name: feature.table for feature in encoder.spec.select(Group.USER, Kind.CATEGORY)}
    return tuple(GroupCodes(name, known.index(name), encoder.sizes[table[name]]) for name in names if name in known)


def shift_odds(probability: np.ndarray, ratio: np.ndarray | float) -> np.ndarray:
    """Probabilities whose odds are multiplied by `ratio`; 0 and 1 stay."""
    return probability * ratio / (1 - probability + probability * ratio)


@dataclass(frozen=True)
class Observations:
    """What the rows [N] of a head showed: exposure x head is expected, `observed` happened; `money`: an amount."""

    predicted: np.ndarray
    observed: np.ndarray
    exposure: np.ndarray
    weight: np.ndarray
    request: np.ndarray
    money: bool

    def expected(self, ratio: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Means with `ratio` applied to the head, and their derivative by its logarithm, float64 [N] each."""
        if self.money:
            mean = self.exposure * self.predicted * ratio
            return mean, mean
        shifted = shift_odds(self.predicted, ratio)
        return self.exposure * shifted, self.exposure * shifted * (1 - shifted)


def fit_offsets(rows: Observations, codes: np.ndarray, *, size: int) -> np.ndarray:
    """float64 [size]: offsets by code; codes without rows have that of all rows together."""
    centre = 0.0
    for _ in range(CENTRING):
        mean, slope = rows.expected(np.exp(centre))
        total = max(float((rows.weight * slope).sum()), np.finfo(float).tiny)
        centre += float(np.clip((rows.weight * (rows.observed - mean)).sum() / total, -STEP, STEP))
    evidence = rows.weight / spread_of_requests(rows, centre)
    deviation, variance = np.zeros(size), PRIOR_VARIANCE
    present = np.bincount(codes, minlength=size) > 0
    for _ in range(ROUNDS):
        mean, slope = rows.expected(np.exp(centre + deviation)[codes])
        pull = np.bincount(codes, evidence * (rows.observed - mean), minlength=size) - deviation / variance
        precision = np.bincount(codes, evidence * slope, minlength=size) + 1 / variance
        deviation = deviation + np.clip(pull / precision, -STEP, STEP)
        spread = float((deviation**2 + 1 / precision)[present].sum())
        variance = (spread + PRIOR_GROUPS * PRIOR_VARIANCE) / (present.sum() + PRIOR_GROUPS)
    return centre + np.where(present, deviation, 0.0)


def spread_of_requests(rows: Observations, centre: float) -> float:
    """Design effect: variance of requests' residuals over the derivative that stands for it, at least 1 of events."""
    mean, slope = rows.expected(np.exp(centre))
    _, place = np.unique(rows.request, return_inverse=True)
    residual = np.bincount(place, rows.weight * (rows.observed - mean))
    effect = float((residual**2).sum()) / max(float((rows.weight * slope).sum()), np.finfo(float).tiny)
    return max(effect, np.finfo(float).tiny if rows.money else 1.0)
