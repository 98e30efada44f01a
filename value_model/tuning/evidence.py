"""What tuning knows of R logged requests with n candidates each: arrays [R, n], 0 where there is no candidate.

An item's outcomes (click, order, gmv, ...) follow the position-based model: expectation = P(its place is examined)
times P(outcome | examined). Traits (newcomer, quality) are known for sure, and count for each examined impression.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from value_model.formula.logged_slates import LoggedSlates


@dataclass(frozen=True)
class Evidence:
    """Logged slates, what shoppers did, what the heads expected, and how often each candidate is shown.

    examination [R, K]: P(examined) by place on the request's page, the list's first = 1; 0 beyond what it shows.
    position: the place on the page, 1 = its first, 0 = not shown.
    feedback: outcomes as they happened (amounts in the policy's currency), 0 where not shown.
    predicted: the same per examined impression, as the heads expect it.
    exposure: the logging policy's (`value_model.tuning.exposure`); None = the log was not randomised.
    squares: E[outcome^2 | examined] as the heads expect it: for 0/1 outcomes the prediction itself, for amounts
    gmv^2 / P(order). Keeps intervals honest where the log lacks a tail that is to be expected.
    unit int [R]: who is independent (shopper, session); segment text [R].
    """

    slates: LoggedSlates
    examination: np.ndarray
    position: np.ndarray
    feedback: Mapping[str, np.ndarray]
    predicted: Mapping[str, np.ndarray]
    traits: Mapping[str, np.ndarray]
    unit: np.ndarray
    segment: np.ndarray
    exposure: np.ndarray | None = None
    squares: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.slates.mask.shape
        for name in ("feedback", "predicted", "traits", "squares"):
            for key, column in getattr(self, name).items():
                if column.shape != shape:
                    raise ValueError(f"{name} {key!r} is {column.shape}; the slates are {shape}.")
        if missing := self.feedback.keys() - self.predicted.keys():
            raise ValueError(f"outcomes {sorted(missing)} have no prediction: give the heads' expectation of each.")
        if self.exposure is not None and not (self.exposure[self.position > 0] > 0).all():
            raise ValueError("exposure is 0 for items that were shown: it is not that of the policy that logged.")

    def __len__(self) -> int:
        return len(self.slates)

    @property
    def shown(self) -> np.ndarray:
        """int [R]: how many items each request shows."""
        return np.minimum((self.examination > 0).sum(axis=1), self.slates.mask.sum(axis=1))

    @property
    def looked(self) -> np.ndarray:
        """[R, n]: P(examined) of the place where each item was shown; 0 where it was not."""
        place = np.clip(self.position - 1, 0, self.examination.shape[1] - 1)
        return np.where(self.position > 0, np.take_along_axis(self.examination, place, axis=1), 0.0)

    def take(self, rows: np.ndarray) -> Evidence:
        """Some of the requests: bool [R] or row numbers."""
        changed: dict[str, Any] = {"slates": self.slates.take(rows)}
        for part in fields(self):
            value = getattr(self, part.name)
            if isinstance(value, np.ndarray):
                changed[part.name] = value[rows]
            elif isinstance(value, Mapping):
                changed[part.name] = {name: column[rows] for name, column in value.items()}
        return replace(self, **changed)

    def halves(self, rng: np.random.Generator) -> tuple[Evidence, Evidence]:
        """(to search on, to judge on): all requests of a unit fall into the same half."""
        _, unit = np.unique(self.unit, return_inverse=True)
        first = rng.permutation(unit.max(initial=0) + 1) % 2 == 0
        return self.take(first[unit]), self.take(~first[unit])
