"""What a ranker is: every implementation trains on, and predicts from, the same packed inputs.

Which heads it learns follows from which labels its data hold (`marketplace.heads`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from features.spec import ModelInputs
from marketplace.heads import Labels

Predictions = Mapping[str, np.ndarray]  # float64 [N] a head


@dataclass(frozen=True)
class OpenLabel:
    """A label that may still change: as `recorded` so far, and the share of its events that has `come` by a row's age.

    float32 [N] each. Of kept orders the events are the returns that end them (`marketplace.settled`).
    """

    recorded: np.ndarray
    come: np.ndarray


@dataclass(frozen=True)
class RankingData:
    """Inputs, labels by name (float32 [N]), shown position (int32 [N], 0 = unknown) and row weights (float32 [N]).

    An amount is in the data's currency, 0 where its event did not happen. A label is NaN where it is not known yet, and
    absent where it is not recorded. `examination`: P(examined) of each row's place (float32 [N]), None = not estimated.
    `presentation`: what else is known of how each row was shown (float32 [N, P], `marketplace.presentation`).
    `open`: by label what is recorded of it by now, for a fit that counts with what is to come.
    """

    inputs: ModelInputs
    labels: Labels
    position: np.ndarray
    weight: np.ndarray
    examination: np.ndarray | None = None
    presentation: np.ndarray | None = None
    open: Mapping[str, OpenLabel] = field(default_factory=dict)


class Ranker(Protocol):
    """Predicts every head for every row."""

    @property
    def heads(self) -> tuple[str, ...]:
        """The learned heads, in the table's order."""
        ...

    def predict(self, inputs: ModelInputs, *, position: np.ndarray | None = None) -> Mapping[str, np.ndarray]:
        """float64 [N] a head, learned and composed; position None = neutral, as in serving."""
        ...
