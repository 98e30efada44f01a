"""Rungs: how much of the usual path answered a request, best first, as answers, the log and /metrics name it.

own scorer: a model server did not score, and the worker did; fewer candidates: time was short (`candidate_budget`);
the last three are those of `serving.ladder`.
"""

from __future__ import annotations

from marketplace.schema import SCORER_KEY, UNSCORED_KEY
from marketplace.slate import Slate
from serving.scorer import REMOTE

FULL, OWN, FEWER = "full", "own scorer", "fewer candidates"
CACHED, POPULARITY, STATIC = "cached predictions", "popularity", "static list"
RUNGS = (FULL, OWN, FEWER, CACHED, POPULARITY, STATIC)
RESTING = "resting after"  # and the failure's name: the reason of what a circuit breaker did not try in full
STOOD_IN = (CACHED, POPULARITY, STATIC)  # the model did not answer


def rung_of(slate: Slate) -> str:
    """Which of RUNGS answered it."""
    by = (slate.context.get(SCORER_KEY) or REMOTE).partition(",")[0]
    if by in STOOD_IN:
        return by
    if UNSCORED_KEY in slate.context:
        return FEWER
    return FULL if by == REMOTE else OWN


def untried(slate: Slate) -> bool:
    """Whether a circuit breaker kept it from the full rung."""
    by, _, reason = (slate.context.get(SCORER_KEY) or "").partition(", ")
    return by in STOOD_IN and reason.startswith(RESTING)
