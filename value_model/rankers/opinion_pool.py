"""A logarithmic opinion pool: network and trees as one ranker, whose log odds are a weighted mean of theirs.

    log odds p = (1 - w) log odds p_network + w log odds p_trees          an amount: log v likewise

A weight w a head, from 0 (the network alone) to 1 (the trees alone), fitted on held-out rows on which neither was
trained. Scale and level are left to the calibrator that comes after: the weight is the trees' share of the two
coefficients of a regression of what happened on both opinions.
Source: Genest and Zidek 1986, Combining Probability Distributions: A Critique and an Annotated Bibliography.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LinearRegression, LogisticRegression

from features.spec import FeatureSpec, ModelInputs
from marketplace.heads import Head, HeadKind, composed, head_of, uncomposed
from value_model.rankers.calibration import EDGE, log_odds
from value_model.rankers.network_ranker import NetworkRanker
from value_model.rankers.ranker import Predictions, RankingData
from value_model.rankers.trees import Trees

EQUAL = 0.5  # the weight where too little happened to fit one
FEWEST = 50  # outcomes of a head below which both opinions weigh the same


class OpinionPool:
    """Follows `Ranker`; `weights`, the trees', by learned head."""

    def __init__(self, network: NetworkRanker, trees: Trees, *, weights: Mapping[str, float]) -> None:
        self.network, self.trees, self.weights = network, trees, dict(weights)

    @property
    def heads(self) -> tuple[str, ...]:
        return self.network.heads

    @property
    def spec(self) -> FeatureSpec:
        return self.network.spec

    def predict(self, inputs: ModelInputs, *, position: np.ndarray | None = None) -> Predictions:
        """float64 [N] a head, learned and composed; position None = neutral, as in serving."""
        opinions = (member.predict(inputs, position=position) for member in (self.network, self.trees))
        return pooled(*opinions, weights=self.weights)

    def save(self, folder: Path) -> None:
        """Write pool.json, and both members in folders of their own."""
        self.network.save(folder / "network")
        self.trees.save(folder / "trees")
        (folder / "pool.json").write_text(json.dumps(self.weights, indent=1))

    @classmethod
    def load(cls, folder: Path) -> OpinionPool:
        """The pool that `save` wrote."""
        weights = json.loads((folder / "pool.json").read_text())
        return cls(NetworkRanker.load(folder / "network"), Trees.load(folder / "trees"), weights=weights)


def pooled(network: Predictions, trees: Predictions, *, weights: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Both opinions as one, float64 [N] a head, products composed."""
    heads = {}
    for name, weight in weights.items():
        mean = (1 - weight) * _opinion(head_of(name), network) + weight * _opinion(head_of(name), trees)
        heads[name] = np.exp(mean) if head_of(name).kind is HeadKind.MONEY else expit(mean)
    return composed(heads)


def fit_weights(network: Predictions, trees: Predictions, data: RankingData) -> dict[str, float]:
    """The trees' weight of each learned head, from the held-out rows of its condition."""
    return {head.name: _weight(head, network, trees, data) for head in uncomposed(network)}


def _weight(head: Head, network: Predictions, trees: Predictions, data: RankingData) -> float:
    rows = head.training_rows(data.labels) & (data.weight > 0)
    outcome, weight = data.labels[head.label][rows], data.weight[rows]
    opinions = np.column_stack([_opinion(head, network)[rows], _opinion(head, trees)[rows]])
    opinions = opinions.clip(*log_odds(np.array([EDGE, 1 - EDGE]))) if head.kind is HeadKind.PROBABILITY else opinions
    amount = head.kind is HeadKind.MONEY
    if (len(outcome) if amount else min(outcome.sum(), (1 - outcome).sum())) < FEWEST:
        return EQUAL
    model = LinearRegression() if amount else LogisticRegression(C=np.inf)
    coefficients = model.fit(opinions, np.log(outcome) if amount else outcome, sample_weight=weight).coef_.ravel()
    shares = np.maximum(coefficients, 0)
    return float(shares[1] / shares.sum()) if shares.any() else EQUAL


def _opinion(head: Head, predictions: Predictions) -> np.ndarray:
    """What is averaged, float64 [N]: log odds of an event, the log of an amount."""
    predicted = predictions[head.name]
    return np.log(predicted) if head.kind is HeadKind.MONEY else log_odds(predicted)
