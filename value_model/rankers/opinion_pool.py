"""A logarithmic opinion pool: network and trees as one ranker, whose log odds are a weighted mean of theirs.

    log odds p = (1 - w) log odds p_network + w log odds p_trees          an amount: log v likewise

A weight w a head, from 0 (the network alone) to 1 (the trees alone), fitted on held-out rows on which neither was
trained. Scale and level are left to the calibrator that comes after: the weight is the trees' share of the two
coefficients of a regression of what happened on both opinions. Of an event of every item shown the regression is a
conditional logit within the lists, since it is their order that is served,

    log likelihood = sum of gain x (score - log sum over its list of exp(score))      score = a network + b trees

and one opinion alone is kept unless both together are more likely by one standard error over the lists.
Sources: Genest and Zidek 1986, Combining Probability Distributions: A Critique and an Annotated Bibliography;
McFadden 1974, Conditional Logit Analysis of Qualitative Choice Behavior; Breiman et al. 1984, Classification and
Regression Trees, section 3.4.3, for the one standard error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
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


def fit_weights(
    network: Predictions, trees: Predictions, data: RankingData, *, examination: np.ndarray | None = None
) -> dict[str, float]:
    """The trees' weight of each learned head, from the held-out rows of its condition.

    `examination` [N]: P(examined) of each row's place, by which gains are divided; None = they count as recorded.
    """
    gain = data.weight if examination is None else data.weight / examination
    weights = {}
    for head in uncomposed(network):
        rows = head.training_rows(data.labels) & (data.weight > 0)
        outcome = data.labels[head.label][rows]
        opinions = np.column_stack([_opinion(head, network)[rows], _opinion(head, trees)[rows]])
        amount, of_lists = head.kind is HeadKind.MONEY, head.condition is None
        if not amount:
            opinions = opinions.clip(*log_odds(np.array([EDGE, 1 - EDGE])))
        if (len(outcome) if amount else min(outcome.sum(), (1 - outcome).sum())) < FEWEST:
            shares = np.zeros(2)
        elif of_lists and not amount:
            shares = _order_shares(opinions, gain[rows] * outcome, data.inputs.request[rows])
        else:
            model = LinearRegression() if amount else LogisticRegression(C=np.inf)
            fitted = model.fit(opinions, np.log(outcome) if amount else outcome, sample_weight=data.weight[rows])
            shares = np.maximum(fitted.coef_.ravel(), 0)
        weights[head.name] = float(shares[1] / shares.sum()) if shares.any() else EQUAL
    return weights


def _order_shares(opinions: np.ndarray, gain: np.ndarray, request: np.ndarray) -> np.ndarray:
    """Coefficients [2], at least 0, of a conditional logit; one alone where both together are not clearly better."""
    start = np.flatnonzero(np.diff(request, prepend=-1))
    of_row = np.repeat(np.arange(len(start)), np.diff(np.append(start, len(request))))
    both, network, trees = (
        _conditional_logit(opinions, gain, of_row, start, most=most)
        for most in ((None, None), (None, 0.0), (0.0, None))
    )
    single = max((network, trees), key=lambda fitted: fitted[1].sum())
    more = both[1] - single[1]
    return both[0] if more.sum() > np.sqrt(len(more)) * more.std() else single[0]


def _conditional_logit(
    opinions: np.ndarray,
    gain: np.ndarray,
    of_row: np.ndarray,
    start: np.ndarray,
    *,
    most: tuple[float | None, float | None],
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients [2] from 0 to `most`, and the log likelihood of each list; rows of list l begin at `start[l]`."""
    total = np.bincount(of_row, gain)

    def likelihood(coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each list, and the gradient of the sum."""
        score = opinions @ coefficients
        score -= np.maximum.reduceat(score, start)[of_row]
        odds = np.exp(score)
        chance = odds / np.add.reduceat(odds, start)[of_row]
        return np.bincount(of_row, gain * np.log(chance)), (gain - total[of_row] * chance) @ opinions

    def loss(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        of_lists, gradient = likelihood(coefficients)
        return -of_lists.sum() / total.sum(), -gradient / total.sum()

    bounds = [(0.0, highest) for highest in most]
    precise = {"ftol": 1e-13, "gtol": 1e-9}
    fitted = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=bounds, options=precise).x
    return fitted, likelihood(fitted)[0]


def _opinion(head: Head, predictions: Predictions) -> np.ndarray:
    """What is averaged, float64 [N]: log odds of an event, the log of an amount."""
    predicted = predictions[head.name]
    return np.log(predicted) if head.kind is HeadKind.MONEY else log_odds(predicted)
