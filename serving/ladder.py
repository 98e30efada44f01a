"""Degradation ladder: a request is answered by the highest rung that holds, and its slate says which, and why.

    full or fewer candidates -> cached predictions -> popularity -> static list

cached predictions (`serving.prediction_cache`): the scorer failed, gave no finite number, or the caller's time was over
before the ranking began. Popularity and static list (`serving.plain_list`): features or retrieval failed, or nothing is
cached. What the caller did wrong is refused on every rung; so is a request while the log cannot be written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from marketplace.log import CatalogueMoved, DuplicateRequest, LogUnavailable
from serving.deadline import ClientGone
from serving.prediction_cache import CachedScorer, PredictionCache
from serving.request import BadRequest, UnknownName
from serving.rungs import CACHED, FULL, POPULARITY, STATIC
from serving.scorer import Scorer, ScoringFailed
from serving.service import Ranking
from serving.soundness import NotFinite

logger = logging.getLogger(__name__)
REFUSALS = (BadRequest, UnknownName, DuplicateRequest, CatalogueMoved, LogUnavailable, ClientGone)
OF_SCORER = (ScoringFailed, NotFinite)  # failures that retrieval and features have no part in
LATE = "late"


class NotAnswerable(RuntimeError):
    """No rung holds."""


class Ladder:
    """The rungs of one engine; `cache` is what it learned from the slates that its ranker ranked."""

    def __init__(self, cache: PredictionCache) -> None:
        self.cache = cache
        self._told: set[type[Exception]] = set()

    def answer(
        self,
        ranked: Callable[[Scorer | None], Ranking],
        listed: Callable[[str, str], Ranking],
        *,
        late: bool,
        request_id: str,
    ) -> Ranking:
        """What the highest rung answers: `ranked` with a scorer in the place of the model's, or `listed` under the name
        of its rung with the reason. Raises REFUSALS, and NotAnswerable."""
        reason, failure = LATE if late else "", None
        for rung in (CACHED, POPULARITY, STATIC) if late else (FULL, CACHED, POPULARITY, STATIC):
            if rung == CACHED and not (late or isinstance(failure, OF_SCORER)):
                continue
            try:
                if rung in (POPULARITY, STATIC):
                    return listed(rung, reason)
                return ranked(None if rung == FULL else CachedScorer(self.cache, reason))
            except REFUSALS:
                raise
            except Exception as error:  # whatever is wrong with a model or a source, the shopper gets a list
                self._tell(error, rung, request_id)
                failure, reason = error, reason or reason_of(error)
        raise NotAnswerable(f"request {request_id!r} cannot be answered now: {reason}") from failure

    def _tell(self, error: Exception, rung: str, request_id: str) -> None:
        """A line for each request, the traceback for the first of its kind."""
        trace = None if type(error) in self._told else error
        self._told.add(type(error))
        logger.warning("request %r: the rung %r does not hold: %s", request_id, rung, error, exc_info=trace)


def reason_of(error: Exception) -> str:
    """In a word: the kind of the error that came first."""
    return type(error.__cause__ or error if isinstance(error, ScoringFailed) else error).__name__
