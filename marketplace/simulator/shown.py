"""Lists as shown: the best k of each request's candidates, in order of position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from marketplace import plackett_luce
from marketplace.simulator.candidates import Proposals
from marketplace.simulator.config import SimulatorConfig
from marketplace.simulator.market import Market
from marketplace.simulator.policies import logging_scores
from marketplace.simulator.requests import RequestBatch


@dataclass(frozen=True)
class ShownLists:
    """Candidates in ranked order, [R, C]; the first `length[r]` are shown, at positions 1, 2, ..."""

    item: np.ndarray  # int32, -1 = none
    source: np.ndarray  # int8
    score: np.ndarray  # float64
    propensity: np.ndarray  # float64
    length: np.ndarray  # int64 [R]

    @property
    def shown(self) -> np.ndarray:
        """bool [R, C]."""
        return np.arange(self.item.shape[1]) < self.length[:, None]


def slate_length(config: SimulatorConfig, requests: RequestBatch) -> np.ndarray:
    """How many items each request shows at most, int64 [R]."""
    return np.array(config.shown)[requests.surface]


def rank_as_logged(
    market: Market, requests: RequestBatch, proposals: Proposals, rng: np.random.Generator
) -> ShownLists:
    """The logging policy's draw, with its propensities."""
    scores = logging_scores(market)(requests, proposals.item)
    order = plackett_luce.draw(scores, rng)
    item, source, score = (
        np.take_along_axis(column, order, axis=1) for column in (proposals.item, proposals.source, scores)
    )
    available = (proposals.item >= 0).sum(axis=1)
    length = np.minimum(slate_length(market.config, requests), available)
    return ShownLists(item, source, score, plackett_luce.propensities(scores, order), length)


def best_first(scores: np.ndarray, candidates: np.ndarray, *, length: np.ndarray) -> np.ndarray:
    """The `length[r]` best candidates of each request, int32 [R, max(length)], -1 beyond them."""
    order = np.argsort(-np.where(candidates >= 0, scores, -np.inf), axis=1, kind="stable")
    ranked = np.take_along_axis(candidates, order, axis=1)[:, : int(length.max(initial=0))]
    return np.where(np.arange(ranked.shape[1]) < length[:, None], ranked, -1)
