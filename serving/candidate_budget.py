"""Candidate budget: how many candidates a ranking can take before its deadline.

    seconds left after retrieval = what follows the scoring + each x candidates

Both are exponential means over the rankings before, by the clock of their stages.
"""

from __future__ import annotations

from collections.abc import Mapping

EACH = ("store_items", "encode", "first_phase", "score", "value")  # stages that take longer with more candidates
AFTER = ("choose", "slate", "log")
FADING = 0.05  # share of the newest in a mean
MARGIN = 1.25  # for a ranking that is slower than the mean
FEWEST = 20  # candidates; fewer save nothing


class CandidateBudget:
    """Of one engine; everything fits until a first ranking was seen."""

    def __init__(self) -> None:
        self._each = self._after = 0.0  # seconds

    def learn(self, seconds: Mapping[str, float], *, candidates: int) -> None:
        """From the seconds by stage of a ranking that took so many."""
        each = sum(seconds.get(stage, 0.0) for stage in EACH) / max(candidates, 1)
        after = sum(seconds.get(stage, 0.0) for stage in AFTER)
        share = FADING if self._each else 1.0
        self._each += share * (each - self._each)
        self._after += share * (after - self._after)

    def fitting(self, candidates: int, *, left: float, places: int) -> int:
        """How many of them `left` seconds are enough for, and at least twice the `places` to fill."""
        if MARGIN * (self._after + self._each * candidates) <= left:
            return candidates
        fit = (left / MARGIN - self._after) / self._each
        return min(candidates, max(int(fit), 2 * places, FEWEST))
