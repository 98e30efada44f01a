"""What one examined impression of each candidate is credited with, so that any ranking's outcome is a weighted sum.

For every outcome there is an array g [R, n] such that the expected outcome of a ranking with exposure E [R, n] is the
mean over requests of sum_i E_i g_i. With f the feedback at the place shown, e that place's examination, L the logging
policy's exposure and m the heads' expectation:

    direct   g = m                                as right as the heads and the examination model
    ips      g = f / L where shown, else 0        unbiased under the position-based model with true L
    dr       g = m + (f - e m) / L where shown    unbiased if L or m is right; least variance with good heads

Sources: Oosterhuis and de Rijke 2020 (policy-aware estimator); Oosterhuis 2023, Doubly Robust Estimation for
Correcting Position Bias in Click Feedback, eq. 18.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from value_model.tuning.evidence import Evidence

LEAST_EXPOSURE = 0.005  # a smaller logging exposure counts as this: no impression weighs more than 200
REQUEST, EXAMINED, SHOWN = "request", "examined", "shown"


class Estimator(StrEnum):
    """How outcomes of other weights are told from the log."""

    DIRECT = "direct"
    IPS = "ips"
    DR = "dr"


def credit_names(evidence: Evidence) -> tuple[str, ...]:
    """The outcomes, then the traits, then `examined`: the last axis of `credits`."""
    return (*evidence.feedback, *evidence.traits, EXAMINED)


def credits(evidence: Evidence, estimator: Estimator) -> np.ndarray:
    """float64 [R, n, C]: g of every name in `credit_names`; traits and `examined` need no estimate."""
    mask = evidence.slates.mask
    outcomes = [_outcome(evidence, name, estimator) for name in evidence.feedback]
    known = [*evidence.traits.values(), np.ones(mask.shape)]
    return np.where(mask[:, :, None], np.stack([*outcomes, *known], axis=2), 0.0)


def _outcome(evidence: Evidence, name: str, estimator: Estimator) -> np.ndarray:
    model = evidence.predicted[name]
    if estimator is Estimator.DIRECT:
        return model
    if evidence.exposure is None:
        raise ValueError(f"estimator {estimator.value!r} needs a randomised log with its exposure; use 'direct'.")
    chance = np.where(evidence.position > 0, np.maximum(evidence.exposure, LEAST_EXPOSURE), 1.0)
    happened = np.where(evidence.position > 0, evidence.feedback[name], 0.0)
    if estimator is Estimator.IPS:
        return happened / chance
    scaled = _calibrated(evidence, name)
    return scaled + (happened - evidence.looked * scaled) / chance


def _calibrated(evidence: Evidence, name: str) -> np.ndarray:
    """[R, n]: the heads' expectation, scaled to what happened where it was shown."""
    model = evidence.predicted[name]
    happened = float(evidence.feedback[name][evidence.position > 0].sum())
    expected = float((evidence.looked * model).sum())
    return model * (happened / expected) if expected > 0 else model


def expected_error(evidence: Evidence, moved: np.ndarray, outcome: str, estimator: Estimator) -> float:
    """Standard error of the sum over requests of sum_i moved_i g_i that the heads expect, moved [R, n] in exposure.

    sum moved^2 E[f^2 | examined] / L over all candidates, not only those few that were ordered: a log of a heavy tail
    tells its own variance badly. Scaled to the squares that happened, for DR those of what the heads left over.
    0 where no squares are given, and for 'direct'.
    """
    if evidence.exposure is None or outcome not in evidence.squares or estimator is Estimator.DIRECT:
        return 0.0
    squares = np.where(evidence.slates.mask, evidence.squares[outcome], 0.0)
    expected = float((evidence.looked * squares).sum())
    left = np.where(evidence.position > 0, evidence.feedback[outcome], 0.0)
    if estimator is Estimator.DR:
        left = left - evidence.looked * _calibrated(evidence, outcome)
    happened = float((left**2).sum())
    scale = happened / expected if expected > 0 and happened > 0 else 1.0
    chance = np.maximum(evidence.exposure, LEAST_EXPOSURE)
    return float(np.sqrt(scale * (moved**2 * squares / chance).sum()))
