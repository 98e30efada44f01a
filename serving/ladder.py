"""Degradation ladder: a request is answered by the highest rung that holds, and its slate says which, and why.

    full or fewer candidates -> cached predictions -> popularity -> static list

cached predictions (`serving.prediction_cache`): the scorer failed, gave no finite number, or the caller's time was over
before the ranking began. Popularity and static list (`serving.plain_list`): features or retrieval failed, or nothing is
cached. What the caller did wrong is refused on every rung; so is a request while the log cannot be written.

Where the full rung failed several requests in a row, of one surface under one policy, a circuit breaker
(`serving.circuit_breaker`) saves the next ones the attempt: they begin on the rung below, and say so.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from marketplace.log import CatalogueMoved, DuplicateRequest, LogUnavailable
from serving.circuit_breaker import CircuitBreaker
from serving.deadline import ClientGone
from serving.prediction_cache import CachedScorer, PredictionCache
from serving.request import BadRequest, UnknownName
from serving.rungs import CACHED, FULL, POPULARITY, RESTING, STATIC
from serving.scorer import Scorer, ScoringFailed
from serving.service import Ranking
from serving.soundness import NotFinite

logger = logging.getLogger(__name__)
REFUSALS = (BadRequest, UnknownName, DuplicateRequest, CatalogueMoved, LogUnavailable, ClientGone)
OF_SCORER = (ScoringFailed, NotFinite)  # failures that retrieval and features have no part in
LATE = "late"


class NotAnswerable(RuntimeError):
    """No rung holds."""


@dataclass(frozen=True)
class _Trouble:
    """Why requests of one kind fell from the full rung, and the breaker that keeps the next ones from it."""

    breaker: CircuitBreaker
    reason: str
    of_scorer: bool


class Ladder:
    """The rungs of one engine; `cache`: what it learned from the slates that its ranker ranked; `clock` in seconds."""

    def __init__(self, cache: PredictionCache, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.cache, self._clock = cache, clock
        self._told: set[type[Exception]] = set()
        self._troubles: dict[Hashable, _Trouble] = {}

    def answer(
        self,
        ranked: Callable[[Scorer | None], Ranking],
        listed: Callable[[str, str], Ranking],
        *,
        late: bool,
        request_id: str,
        kind: Hashable,
    ) -> Ranking:
        """What the highest rung answers: `ranked` with a scorer in the place of the model's, or `listed` under the name
        of its rung with the reason. Requests of one `kind` fail alike. Raises REFUSALS, and NotAnswerable."""
        reason, without_scorer = self._skips(kind, late=late)
        rungs, failure = (CACHED, POPULARITY, STATIC) if reason else (FULL, CACHED, POPULARITY, STATIC), None
        for rung in rungs:
            if rung == CACHED and (self.cache.empty or not without_scorer):
                continue
            try:
                if rung in (POPULARITY, STATIC):
                    return listed(rung, reason)
                ranking = ranked(None if rung == FULL else CachedScorer(self.cache, reason))
            except REFUSALS:
                raise
            except Exception as error:  # whatever is wrong with a model or a source, the shopper gets a list
                self._tell(error, rung, request_id)
                failure, reason = error, reason or reason_of(error)
                if rung == FULL:
                    without_scorer = isinstance(error, OF_SCORER)
                    self._fails(kind, reason, of_scorer=without_scorer)
            else:
                if rung == FULL:
                    self._holds(kind)
                return ranking
        raise NotAnswerable(f"request {request_id!r} cannot be answered now: {reason}") from failure

    def _skips(self, kind: Hashable, *, late: bool) -> tuple[str, bool]:
        """Why the full rung is not tried, "" = it is; and whether a scorer in the model's stead would help."""
        if late:
            return LATE, True
        trouble = self._troubles.get(kind)
        if trouble is None or not trouble.breaker.open:
            return "", False
        return f"{RESTING} {trouble.reason}", trouble.of_scorer

    def _fails(self, kind: Hashable, reason: str, *, of_scorer: bool) -> None:
        known = self._troubles.get(kind)
        breaker = CircuitBreaker(clock=self._clock) if known is None else known.breaker
        self._troubles[kind] = _Trouble(breaker, reason, of_scorer)
        if breaker.fail():
            logger.error("%s: requests fail in a row, and are not ranked in full for a while: %s", kind, reason)

    def _holds(self, kind: Hashable) -> None:
        trouble = self._troubles.pop(kind, None)
        if trouble is not None and trouble.breaker.hold():
            logger.warning("%s: requests are ranked in full again", kind)

    def _tell(self, error: Exception, rung: str, request_id: str) -> None:
        """A line for each request, the traceback for the first of its kind."""
        trace = None if type(error) in self._told else error
        self._told.add(type(error))
        logger.warning("request %r: the rung %r does not hold: %s", request_id, rung, error, exc_info=trace)


def reason_of(error: Exception) -> str:
    """In a word: the kind of the error that came first."""
    return type(error.__cause__ or error if isinstance(error, ScoringFailed) else error).__name__
