"""Optimised multileaving: with which probability each of a request's lists is shown, by a linear programme.

The lists are given (at most some tens: the programme has a variable a list and a condition an item), the first M of
them the teams' slates. Conventions are those of `evaluation.experiments.interleaving`. With e(x, l) the examination of
item x in list l, fair(x) its mean over the teams' slates, and lean_m(x) = (e(x, m) - fair(x)) / fair(x) how much an
item's outcome speaks for team m:

    minimise    sum_l P(l) sum_m (sum_x e(x, l) lean_m(x))^2          lists that lean to one team
    such that   sum_l P(l) e(x, l) >= least fair(x) for every x       credits are at most 1 / least of an A/B test's
                sum_l P(l) = 1, P >= 0

A list that leans turns every shopper's mood into noise of the difference. The teams' slates at equal odds meet every
condition with least = 1, so that there is always an answer. After Radlinski & Craswell 2013 ("Optimized interleaving")
and Schuth et al. 2014 ("Multileaved comparisons"), with unbiasedness kept by the credit instead of the programme.
"""

from __future__ import annotations

import numpy as np

from evaluation.experiments.interleaving import examined

LEAST = 0.5
STEPS = 500  # of the simplex method, after which the teams' slates are shown at equal odds


def optimised_probability(place: np.ndarray, curve: np.ndarray, *, teams: int, least: float = LEAST) -> np.ndarray:
    """float64 [L]: of one request's lists; `place` int [n, L], `curve` float64 [K], `least` in (0, 1]."""
    from scipy.optimize import linprog  # half a second, where lists are mixed alone

    looked = examined(place, curve)
    fair = looked[:, :teams].mean(axis=1)
    looked, fair = looked[fair > 0], fair[fair > 0]
    lean = looked[:, :teams] / fair[:, None] - 1
    answer = linprog(
        np.square(lean.T @ looked).sum(axis=0),
        A_ub=-looked,
        b_ub=-least * fair,
        A_eq=np.ones((1, looked.shape[1])),
        b_eq=[1.0],
        bounds=(0, 1),
        method="highs",
        options={"maxiter": STEPS},
    )
    if not answer.success:
        return np.repeat([1 / teams, 0.0], [teams, looked.shape[1] - teams])
    probability: np.ndarray = np.maximum(answer.x, 0) / np.maximum(answer.x, 0).sum()
    return probability
