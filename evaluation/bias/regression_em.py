"""Regression-EM: examination where pairs hardly repeat, attraction predicted from features.

The EM of the position-based model, whose maximisation step for attraction is a classifier fitted to the posterior
(Wang et al. 2018, "Position bias estimation for unbiased learning to rank in personal search", section 4.2).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy.special import expit

from evaluation.bias.click_models import TINY, PositionBias, relative


class Regression(Protocol):
    """Learns a probability in [0, 1] from features [N, D]; a step that only improves the fit is enough."""

    def fit(self, features: np.ndarray, target: np.ndarray) -> object: ...
    def predict(self, features: np.ndarray) -> np.ndarray: ...


class Logistic:
    """Logistic regression on probabilities: one Newton step a call from where the last one stopped, small ridge."""

    def __init__(self, *, ridge: float = 1e-3) -> None:
        self.ridge = ridge
        self.weights: np.ndarray | None = None

    def fit(self, features: np.ndarray, target: np.ndarray) -> Logistic:
        x = np.column_stack([features, np.ones(len(features))])
        if self.weights is None:
            self.weights = np.append(np.zeros(features.shape[1]), np.log(target.mean() / (1 - target.mean())))
        chance = expit(x @ self.weights)
        curvature = (x * (chance * (1 - chance))[:, None]).T @ x + self.ridge * np.eye(x.shape[1])
        self.weights = self.weights + np.linalg.solve(curvature, x.T @ (target - chance) - self.ridge * self.weights)
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        assert self.weights is not None
        return expit(features @ self.weights[:-1] + self.weights[-1])


class Classifier(Protocol):
    """scikit-learn's shape, with row weights."""

    def fit(self, X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray) -> object: ...
    def predict_proba(self, X: np.ndarray) -> np.ndarray: ...


class Classified:
    """Any scikit-learn classifier as a Regression: every row enters twice, as attractive and not, by its target."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    def fit(self, features: np.ndarray, target: np.ndarray) -> Classified:
        twice, answers = np.concatenate([features, features]), np.repeat([1, 0], len(target))
        self.classifier.fit(twice, answers, sample_weight=np.concatenate([target, 1 - target]))
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        return self.classifier.predict_proba(features)[:, 1]


def fit_regression_em(
    position: np.ndarray,
    click: np.ndarray,
    features: np.ndarray,
    *,
    depth: int,
    regression: Regression | None = None,
    iterations: int = 500,
    tolerance: float = 1e-6,
) -> PositionBias:
    """Fit on N impressions at positions 1..depth with `features` [N, D]; returns attraction [N].

    regression None = `Logistic`; `Classified(...)` takes trees. Stops when an iteration gains less than `tolerance` log
    likelihood per impression.
    """
    if ((position < 1) | (position > depth)).any():
        raise ValueError(f"position: every impression must lie in 1 .. {depth}; leave the others out.")
    model, place = regression or Logistic(), position - 1
    impressions = np.bincount(place, minlength=depth)
    looks = np.maximum(impressions, 1)
    examination = np.bincount(place, click, minlength=depth) / looks
    examination = examination / max(examination.max(), TINY) * 0.9
    attraction = np.full(len(click), min(2 * click.mean(), 0.5))
    history: list[float] = []
    for _ in range(iterations):
        e, chance = examination[place], np.clip(examination[place] * attraction, TINY, 1 - TINY)
        history.append(float(np.where(click > 0, np.log(chance), np.log1p(-chance)).mean()))
        if len(history) > 1 and history[-1] - history[-2] < tolerance:
            break
        examined = np.where(click > 0, 1.0, e * (1 - attraction) / (1 - chance))
        attracted = np.where(click > 0, 1.0, attraction * (1 - e) / (1 - chance))
        examination = np.bincount(place, examined, minlength=depth) / looks
        model.fit(features, attracted)
        attraction = model.predict(features)
    return PositionBias(relative(examination, impressions), attraction * examination[0], np.array(history))
