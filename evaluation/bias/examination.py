"""Examination curve of a surface: P(examined) by place, relative to the first place, estimated or assumed.

Arrays are [K] by place, falling, 1 at the first; impressions have `position`, 1-based, 0 = not shown.
`evaluation.bias.click_models` fits curves from lists that repeat or were shuffled; here they are read off any log that
has a ranker's predictions.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.optimize import isotonic_regression

from evaluation.bias.click_models import cells, fit_pbm
from evaluation.ranking import discounts

PRIOR = 30.0  # expected clicks that a place of a surface needs before its own rate counts for half
ASSUMED_DEPTH = 10  # places shown where the log has none


def examination_curves(
    position: np.ndarray, click: np.ndarray, expected: np.ndarray, surface: np.ndarray
) -> dict[str, np.ndarray]:
    """P(examined) by place relative to the first, per surface: clicks over those expected in the first place.

    `expected` = P(click | examined) by a ranker that knows of no position. Falls with the place (isotonic); places
    with few expected clicks lean on all surfaces together.
    """
    depth = int(position.max(initial=0))
    everywhere = _falling(*_by_place(position, click, expected, depth))
    curves = {}
    for name in np.unique(surface).tolist():
        rows = surface == name
        clicks, looks = _by_place(position[rows], click[rows], expected[rows], depth)
        level = clicks.sum() / max((everywhere * looks).sum(), 1e-12)
        curve = _falling(clicks + PRIOR * level * everywhere, looks + PRIOR)
        curves[name] = np.maximum(curve / max(curve[0], 1e-12), 1e-3)
    return curves


def fitted_curves(
    position: np.ndarray, click: np.ndarray, pair: np.ndarray, surface: np.ndarray
) -> dict[str, np.ndarray]:
    """P(examined) by place relative to the first, per surface, by EM of the position-based model on `pair` int [N].

    Of rows at a place (position > 0). Falls with the place (isotonic); surfaces with few clicks lean on all together.
    """
    shown = position > 0
    position, click, surface = position[shown], click[shown], surface[shown]
    pair = np.unique(pair[shown], return_inverse=True)[1]
    depth = int(position.max(initial=1))
    everywhere = _fitted(position, click, pair, np.ones(depth), depth)
    curves = {}
    for name in np.unique(surface).tolist():
        rows = surface == name
        curves[name] = _fitted(position[rows], click[rows], pair[rows], everywhere, depth)
    return curves


def _fitted(position: np.ndarray, click: np.ndarray, pair: np.ndarray, usual: np.ndarray, depth: int) -> np.ndarray:
    """[depth]: the model's curve, which counts by its clicks, beside the `usual` one, which counts for PRIOR."""
    looks, clicks = np.bincount(position - 1, minlength=depth), click.sum()
    curve = fit_pbm(cells(position, click, pair, depth=depth), depth=depth, iterations=300, tolerance=1e-7).examination
    curve = np.where(np.isnan(curve), usual, curve)
    curve = (clicks * curve + PRIOR * usual) / (clicks + PRIOR)
    falling = np.asarray(isotonic_regression(curve, weights=np.maximum(looks, 1e-12), increasing=False).x)
    return falling / max(falling[0], 1e-12)


def assumed_curves(surface: np.ndarray) -> dict[str, np.ndarray]:
    """1 / log2(1 + place) for every surface: where no list was recorded, as DCG discounts."""
    return dict.fromkeys(np.unique(surface).tolist(), discounts(ASSUMED_DEPTH))


def _by_place(
    position: np.ndarray, click: np.ndarray, expected: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    shown = position > 0
    place = position[shown] - 1
    return np.bincount(place, click[shown], depth), np.bincount(place, expected[shown], depth)


def _falling(clicks: np.ndarray, looks: np.ndarray) -> np.ndarray:
    rate = clicks / np.maximum(looks, 1e-12)
    return np.asarray(isotonic_regression(rate, weights=np.maximum(looks, 1e-12), increasing=False).x)


def examination_of(
    surface: np.ndarray, depth: np.ndarray, curves: Mapping[str, np.ndarray], *, above: np.ndarray | int = 0
) -> np.ndarray:
    """float64 [R, K]: each surface's curve from below the `above` [R] places on, the `depth` [R] that the page shows.

    Raises ValueError for a surface without a curve or a curve that is too short.
    """
    above = np.broadcast_to(above, len(surface))
    shown = np.arange(int(depth.max(initial=0))) < depth[:, None]
    table = np.zeros(shown.shape)
    for name in np.unique(surface).tolist():
        rows = surface == name
        longest = int((above + depth)[rows].max())
        if name not in curves or len(curves[name]) < longest:
            raise ValueError(f"examination of {longest} places of surface {name!r} is wanted; give a curve that long.")
        place = above[rows, None] + np.arange(shown.shape[1])
        table[rows] = np.where(shown[rows], np.take(curves[name], place, mode="clip"), 0.0)
    return table


def inverse_examination(examination: np.ndarray, position: np.ndarray, *, cap: float = 10.0) -> np.ndarray:
    """[N] weights 1 / examination of the shown position, at most `cap`, for training a ranker on clicks; 0 unshown.

    Positions below the fitted depth take the last position's weight; where examination is NaN the weight is `cap`.
    """
    place = np.clip(position, 1, len(examination)) - 1
    weight = 1 / np.maximum(np.nan_to_num(examination[place], nan=1 / cap), 1 / cap)
    return np.where(position > 0, weight, 0.0)


def examination_ratio(policy: np.ndarray, logging: np.ndarray, examination: np.ndarray) -> np.ndarray:
    """[N]: expected examination of an item under a policy over that under logging (Li et al. 2018, PBM estimator).

    policy, logging [N, K]: P(item at position). It takes the place of `marginal_ratio` in the slate estimators, and has
    support wherever the item was shown at all: deterministic lists answer too. NaN where either puts an item at a
    position whose examination is NaN.
    """
    unknown = np.isnan(examination)
    filled = np.where(unknown, 0.0, examination)
    ratio = (policy @ filled) / (logging @ filled)
    return np.where(((policy + logging)[:, unknown] > 0).any(axis=1), np.nan, ratio)
