"""Training, validation and test periods of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from marketplace.splits import split


@dataclass(frozen=True)
class Periods:
    """The requests of each period, bool [R] each, and when the later two begin (UTC microseconds)."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    validation_from: int
    test_from: int

    def take(self, requests: np.ndarray) -> Periods:
        """The same for some of the requests (positions)."""
        parts = (self.train[requests], self.validation[requests], self.test[requests])
        return Periods(*parts, self.validation_from, self.test_from)


def periods(slates: pa.Table, *, test_share: float, validation_share: float) -> Periods:
    """By time: the last `test_share` of the requests, and before them the last `validation_share` of the rest."""
    outer = split(slates, test_share=test_share)
    inner = split(slates.filter(pa.array(outer.train)), test_share=validation_share)
    train, validation = outer.train.copy(), outer.train.copy()
    train[outer.train], validation[outer.train] = inner.train, inner.test
    return Periods(train, validation, outer.test, inner.cut, outer.cut)
