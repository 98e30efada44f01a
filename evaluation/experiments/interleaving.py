"""Interleaving: what each policy (team) would have brought, from lists that mix the slates of all.

Which of L lists a request gets is drawn with known probabilities; the first M lists are the teams' slates. With
theta(p) the examination of place p, and outcomes y that depend on the item and on whether it is examined
(position-based model), an item's outcome tells of every list that holds it:

    worth_m = sum over items  y  theta(place in m's slate) / sum over lists  P(list) theta(place in the list)

is unbiased for what team m's slate brings, and worth_b - worth_a for the effect of b against a, in the unit of an A/B
test: credit is the inverse of how much the item was to be examined (counterfactual credit: Bi et al. 2022, "Debiased
balanced interleaving at Amazon Search"; the estimator: Li et al. 2018). Items in the same place of both slates bring
exactly 0, whatever came of them: there the sensitivity comes from. It rests on theta, where an A/B test does not.

Conventions: `place` int [N, L] over items of requests and lists, 1 = first, 0 = not in the list; `curve` float64 [K] or
[N, K]: examination by place, K at least the last; `probability` float64 [N, L] or [L]; `outcome` float64 [N], whatever
is counted: clicks, orders, GMV (currency), 0 for what was not shown.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np


class TurnRule(StrEnum):
    """Who fills the places of a mixed list: drawn anew in every round, once a request, or at optimised odds."""

    TEAM_DRAFT = "team_draft"
    BALANCED = "balanced"
    OPTIMISED = "optimised"


def examined(place: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """float64 [N, L]: P(examined | the list is shown)."""
    row = np.arange(len(place))[:, None] if curve.ndim == 2 else ()
    index = np.maximum(place, 1) - 1
    return np.where(place > 0, curve[row, index] if curve.ndim == 2 else curve[index], 0.0)


def debiased_worth(
    outcome: np.ndarray, place: np.ndarray, probability: np.ndarray, curve: np.ndarray, *, teams: int
) -> np.ndarray:
    """float64 [N, teams]: each item's part of what each team's slate brings."""
    looked = examined(place, curve)
    overall = (looked * probability).sum(axis=1)
    return outcome[:, None] * looked[:, :teams] / np.where(overall > 0, overall, 1.0)[:, None]


def uncovered(place: np.ndarray, probability: np.ndarray, curve: np.ndarray, *, teams: int) -> float:
    """The share of what teams examine unlike team 0 that no list can show: where above 0, effects are biased."""
    looked = examined(place, curve)
    apart = np.abs(looked[:, :teams] - looked[:, :1]).max(axis=1)
    hidden = (looked * probability).sum(axis=1) == 0
    return float(apart[hidden].sum() / max(apart.sum(), np.finfo(float).tiny))


def team_credit(outcome: np.ndarray, odds: np.ndarray) -> np.ndarray:
    """float64 [N, teams]: outcomes shared by P(team placed the item | the list shown), float64 [N, teams].

    Which policy is preferred, not by how much: the credit of team draft (Radlinski, Kurup & Joachims 2008) in
    expectation over the drafts that look the same. Equal slates get exactly equal credits.
    """
    return outcome[:, None] * odds
