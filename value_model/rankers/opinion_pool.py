"""A logarithmic opinion pool: several rankers as one, whose log odds are a weighted mean of theirs.

    log odds p = sum over members of w_m log odds p_m        sum of w_m = 1        an amount: log v likewise

The members are a network and the trees of one library or of several. Weights are of a head, fitted on held-out rows on
which no member was trained. Scale and level are left to the calibrator that comes after: weights are the members'
shares of the coefficients, at least 0, of a regression of what happened on all opinions. Of an event of every item
shown the regression is a conditional logit within the lists, since it is their order that is served,

    log likelihood = sum of gain x (score - log sum over its list of exp(score))      score = opinions @ coefficients

and members join, the best one first, as long as one makes lists more likely by one standard error over the lists.
Sources: Genest and Zidek 1986, Combining Probability Distributions: A Critique and an Annotated Bibliography;
McFadden 1974, Conditional Logit Analysis of Qualitative Choice Behavior; Breiman et al. 1984, Classification and
Regression Trees, section 3.4.3, for the one standard error; Ting and Witten 1999, Issues in Stacked Generalization, for
coefficients of at least 0.
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

FEWEST = 50  # outcomes of a head below which all opinions weigh the same
POOL = "pool.json"
NETWORK = "network"  # the member that is no trees

Weights = Mapping[str, Mapping[str, float]]  # head -> member -> weight


class OpinionPool:
    """Follows `Ranker`; `members` by name: NETWORK, and trees by their library."""

    def __init__(self, members: Mapping[str, NetworkRanker | Trees], *, weights: Weights) -> None:
        self.members, self.weights = dict(members), weights

    @property
    def heads(self) -> tuple[str, ...]:
        return tuple(self.weights)

    @property
    def spec(self) -> FeatureSpec:
        return next(iter(self.members.values())).spec

    def predict(self, inputs: ModelInputs, *, position: np.ndarray | None = None) -> Predictions:
        """float64 [N] a head, learned and composed; position None = neutral, as in serving."""
        opinions = {name: member.predict(inputs, position=position) for name, member in self.members.items()}
        return pooled(opinions, weights=self.weights)

    def save(self, folder: Path) -> None:
        """Write pool.json, and every member in a folder of its own."""
        for name, member in self.members.items():
            member.save(folder / name)
        (folder / POOL).write_text(json.dumps(self.weights, indent=1))

    @classmethod
    def load(cls, folder: Path) -> OpinionPool:
        """The pool that `save` wrote; one of an earlier version has a number a head, the weight of its only trees."""
        weights = {
            head: one if isinstance(one, dict) else {NETWORK: 1 - one, "trees": one}
            for head, one in json.loads((folder / POOL).read_text()).items()
        }
        names = next(iter(weights.values()))
        return cls({name: _member(folder / name, name) for name in names}, weights=weights)


def _member(folder: Path, name: str) -> NetworkRanker | Trees:
    return NetworkRanker.load(folder) if name == NETWORK else Trees.load(folder)


def pooled(opinions: Mapping[str, Predictions], *, weights: Weights) -> dict[str, np.ndarray]:
    """All opinions as one, float64 [N] a head, products composed."""
    heads = {}
    for name, shares in weights.items():
        mean = sum(weight * _opinion(head_of(name), opinions[member]) for member, weight in shares.items())
        heads[name] = np.exp(mean) if head_of(name).kind is HeadKind.MONEY else expit(mean)
    return composed(heads)


def fit_weights(
    opinions: Mapping[str, Predictions], data: RankingData, *, examination: np.ndarray | None = None
) -> dict[str, dict[str, float]]:
    """The members' weights of each learned head, from the held-out rows of its condition.

    `examination` [N]: P(examined) of each row's place, by which gains are divided; None = they count as recorded.
    """
    gain = data.weight if examination is None else data.weight / examination
    weights = {}
    for head in uncomposed(next(iter(opinions.values()))):
        rows = head.training_rows(data.labels) & (data.weight > 0)
        outcome = data.labels[head.label][rows]
        columns = np.column_stack([_opinion(head, predicted)[rows] for predicted in opinions.values()])
        amount, of_lists = head.kind is HeadKind.MONEY, head.condition is None
        if not amount:
            columns = columns.clip(*log_odds(np.array([EDGE, 1 - EDGE])))
        if (len(outcome) if amount else min(outcome.sum(), (1 - outcome).sum())) < FEWEST:
            shares = np.zeros(len(opinions))
        elif of_lists and not amount:
            shares = _order_shares(columns, gain[rows] * outcome, data.inputs.request[rows])
        else:
            model = LinearRegression() if amount else LogisticRegression(C=np.inf)
            shares = _shares(model, columns, np.log(outcome) if amount else outcome, data.weight[rows])
        shares = shares / shares.sum() if shares.any() else np.full(len(opinions), 1 / len(opinions))
        weights[head.name] = dict(zip(opinions, shares.tolist(), strict=True))
    return weights


def _shares(
    model: LinearRegression | LogisticRegression, opinions: np.ndarray, outcome: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Coefficients [M], at least 0: what has a negative one is left out, and the rest are fitted anew."""
    shares, columns = np.zeros(opinions.shape[1]), np.arange(opinions.shape[1])
    while len(columns):
        coefficients = model.fit(opinions[:, columns], outcome, sample_weight=weight).coef_.ravel()
        if (coefficients >= 0).all():
            shares[columns] = coefficients
            break
        columns = columns[coefficients > 0]
    return shares


def _order_shares(opinions: np.ndarray, gain: np.ndarray, request: np.ndarray) -> np.ndarray:
    """Coefficients [M], at least 0, of a conditional logit to which opinions are added while that is clearly better."""
    start = np.flatnonzero(np.diff(request, prepend=-1))
    of_row = np.repeat(np.arange(len(start)), np.diff(np.append(start, len(request))))
    columns: list[int] = []
    best = np.zeros(opinions.shape[1]), np.full(len(start), -np.inf)
    while left := [column for column in range(opinions.shape[1]) if column not in columns]:
        fits = {c: _conditional_logit(opinions, gain, of_row, start, columns=[*columns, c]) for c in left}
        column, fitted = max(fits.items(), key=lambda one: one[1][1].sum())
        more = fitted[1] - best[1]
        if columns and more.sum() <= np.sqrt(len(more)) * more.std():
            break
        columns, best = [*columns, column], fitted
    return best[0]


def _conditional_logit(
    opinions: np.ndarray, gain: np.ndarray, of_row: np.ndarray, start: np.ndarray, *, columns: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients [M], 0 outside `columns`, and the log likelihood of each list, whose rows begin at `start[l]`."""
    total, most = np.bincount(of_row, gain), np.zeros(opinions.shape[1])
    most[columns] = np.inf

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
    fitted = minimize(loss, np.zeros(len(most)), jac=True, method="L-BFGS-B", bounds=bounds, options=precise).x
    return fitted, likelihood(fitted)[0]


def _opinion(head: Head, predictions: Predictions) -> np.ndarray:
    """What is averaged, float64 [N]: log odds of an event, the log of an amount."""
    predicted = predictions[head.name]
    return np.log(predicted) if head.kind is HeadKind.MONEY else log_odds(predicted)
