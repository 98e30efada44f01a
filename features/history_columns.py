"""The columns of a history: what a model reads of each step, as words that are logged and codes.

Each is a list feature of the same length and order. Age and price are bins on a logarithmic scale, named by their lower
edges; a value is in the bin of the greatest edge that is not above it, which no rounding moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from features.interactions import KINDS
from features.spec import Group, categories
from features.state import Definition, FeatureState, Part

AGES = 2.0 ** (np.arange(60) / 2) - 1  # seconds: 0, 0.41, 1, 1.8, ... 24 years
PRICES = 2.0 ** (np.arange(128) / 4 - 4)  # currency: 0.06, each 19 % above the last

DEFINITIONS = (
    Definition(categories(Group.USER, "history_items", "last distinct items touched, newest last", vocabulary="item")),
    Definition(categories(Group.USER, "history_categories", "their categories", vocabulary="category")),
    Definition(
        categories(Group.USER, "history_merchants", "their merchants", vocabulary="merchant"), part=Part.SEQUENCE
    ),
    Definition(
        categories(Group.USER, "history_actions", "the furthest action on each so far", vocabulary="history_action"),
        part=Part.SEQUENCE,
    ),
    Definition(
        categories(Group.USER, "history_ages", "seconds since each was touched last", vocabulary="history_age"),
        part=Part.SEQUENCE,
    ),
    Definition(
        categories(Group.USER, "history_prices", "their catalogue prices, currency", vocabulary="history_price"),
        part=Part.SEQUENCE,
    ),
)
NAMES = tuple(row.feature.name for row in DEFINITIONS)
OF_ITEM = {"history_items": "item_id", "history_categories": "category", "history_merchants": "merchant_id"}
WORDS: Mapping[str, np.ndarray] = {  # in order; None, where a step has none, is last
    "history_actions": np.array([*KINDS, None], object),
    "history_ages": np.array([*(f"{edge:.3g} s" for edge in AGES), None], object),
    "history_prices": np.array([*(f"{edge:.3g}" for edge in PRICES), None], object),
}


def _bins(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """int64: the bin of each value, the first for those below all edges; -1 for NaN."""
    return np.where(np.isnan(values), -1, np.maximum(np.searchsorted(edges, values, side="right") - 1, 0))


def _ages(state: FeatureState, price: np.ndarray) -> np.ndarray:
    passed = np.maximum(state.time[:, None] - np.maximum(state["history_time"], 0), 0)
    return _bins(passed / 1e6, AGES)


PLACES: Mapping[str, Callable[[FeatureState, np.ndarray], np.ndarray]] = {
    "history_actions": lambda state, price: state["history_action"],
    "history_ages": _ages,
    "history_prices": lambda state, price: _bins(price[state["history"]], PRICES),
}


def places(name: str, state: FeatureState, price: np.ndarray) -> np.ndarray:
    """int64 [R, HISTORY]: each step's place in WORDS[name], -1 = none; `price` float64 [n] of the catalogue's items."""
    return np.where(state["history"] >= 0, PLACES[name](state, price), -1)
