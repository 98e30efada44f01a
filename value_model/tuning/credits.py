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
    return model + (happened - evidence.looked * model) / chance
