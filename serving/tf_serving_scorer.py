"""The scorer that asks a TF-Serving beside the service, and falls back on the bundle's own.

A call has a deadline; one that failed for a moment is repeated once while the budget lasts, a tenth of all calls. A
circuit breaker saves most requests what a slow server would cost them. Whether a version of the model there is the
bundle's is told from its first answer, which must be what the bundle's own scorer says.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from features.spec import ModelInputs
from serving.circuit_breaker import CircuitBreaker
from serving.parity import TOLERANCE, worst_difference
from serving.scorer import INPUTS, LOCAL, REMOTE, Scorer, ScorerAnswer

MODEL, SIGNATURE = "value_model", "heads"
SECONDS = 0.1  # of a call, its repetition included
RETRIED, MOST_RETRIES = 0.1, 10.0  # share of the calls; how many may be saved up
LONGEST_REST = 1.0  # second of a server that failed three times in a row: it may be back at any time

logger = logging.getLogger(__name__)


class RemoteFailure(RuntimeError):
    """A call that gave no predictions: the `reason` in a word or two; `passing` = the same call may succeed at once."""

    def __init__(self, reason: str, detail: str, *, passing: bool = False) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.passing = reason, passing


class Remote(Protocol):
    """A model server (`serving.prediction_service`)."""

    def predict(
        self, inputs: Mapping[str, np.ndarray], *, signature: str, seconds: float
    ) -> tuple[dict[str, np.ndarray], int]: ...


class TfServingScorer:
    """Follows `Scorer`; its predictions say who made them: REMOTE, or LOCAL with the reason."""

    def __init__(
        self,
        remote: Remote,
        local: Scorer,
        *,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._remote, self._local, self._seconds, self._clock = remote, local, seconds, clock
        self._retries, self._breaker = MOST_RETRIES, CircuitBreaker(longest=LONGEST_REST, clock=clock)
        self._same: dict[int, bool] = {}  # version of the model there -> whether it is the bundle's

    @property
    def heads(self) -> tuple[str, ...]:
        return self._local.heads

    def score(self, inputs: ModelInputs, *, items: np.ndarray | None = None) -> ScorerAnswer:
        """float64 [N] a head, from the server; from the bundle's own scorer where it fails."""
        if self._breaker.open:
            return ScorerAnswer(self._local.score(inputs, items=items), by=f"{LOCAL}, resting")
        try:
            heads, version = self._answer(inputs)
            if version not in self._same:
                self._same[version] = self._agrees(heads, self._local.score(inputs, items=items), version)
            if not self._same[version]:
                raise RemoteFailure("another model", f"version {version} is not the bundle's")
        except RemoteFailure as failure:
            if self._breaker.fail():
                logger.warning("TF-Serving fails, and the service scores by itself: %s", failure)
            return ScorerAnswer(self._local.score(inputs, items=items), by=f"{LOCAL}, {failure.reason}")
        self._breaker.hold()
        return ScorerAnswer(heads, by=REMOTE)

    def _answer(self, inputs: ModelInputs) -> tuple[dict[str, np.ndarray], int]:
        """The heads, of the right names and shapes, and the version; raises RemoteFailure."""
        call = {name: getattr(inputs, name) for name in (*INPUTS, "request")}
        deadline = self._clock() + self._seconds
        self._retries = min(self._retries + RETRIED, MOST_RETRIES)
        try:
            answer, version = self._remote.predict(call, signature=SIGNATURE, seconds=self._seconds)
        except RemoteFailure as failure:
            left = deadline - self._clock()
            if not failure.passing or self._retries < 1 or left <= 0:
                raise
            self._retries -= 1
            answer, version = self._remote.predict(call, signature=SIGNATURE, seconds=left)
        shape = (len(inputs.request),)
        for head in self.heads:
            values = answer.get(head)
            if values is None or values.shape != shape or values.dtype.kind != "f":
                received = sorted(answer) if values is None else f"{values.dtype} {values.shape}"
                raise RemoteFailure("malformed", f"expected {head} as numbers {shape}, received {received}")
        return {head: answer[head].astype(np.float64) for head in self.heads}, version

    def _agrees(self, heads: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], version: int) -> bool:
        head, gap = worst_difference(expected, heads)
        if gap <= TOLERANCE:
            return True
        logger.warning(
            "version %s of the model in TF-Serving differs in %s by %.2g of its largest value: it is not this "
            "bundle's. Give it this bundle (value-model export RUN --tf-serving FOLDER); until then the workers score.",
            version,
            head,
            gap,
        )
        return False
