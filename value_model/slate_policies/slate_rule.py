"""Slate rule: what a slate must respect, as an entry of the policy file's [slate] table.

A rule turns the attributes of n candidates into limits of one slate. A limit closes candidates for good once others
stand above them, reserves places for some, draws some places itself, and says which candidates may share a slate, by
which the shortlist knows whether it is long enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from value_model.slate_policies.slate_policy import ItemAttributes


class Limit(Protocol):
    """One rule over the n candidates of one slate under way."""

    def take(self, row: int) -> np.ndarray | None:
        """Candidate `row` takes the next place: bool [n] of those that no later place may show, None = none."""
        ...

    def reserved(self, left: np.ndarray, *, places: int) -> np.ndarray | None:
        """bool [n]: for whom of those `left` (bool [n]) the next of so many `places` is kept; None = for all."""
        ...

    def drawn(self, left: np.ndarray) -> np.ndarray | None:
        """float64 [n]: the probability of each of those `left` to take the next place by the rule alone; None = 0."""
        ...

    def together(self, rows: np.ndarray, *, k: int) -> np.ndarray:
        """Those of the candidates `rows` that one slate of k may hold; none where they cannot meet the rule."""
        ...


class SlateRule(Protocol):
    """A frozen dataclass that is its entry of [slate]; `RULES` in `value_model.slate_policies.rules` lists them.

    `key`: the entry's name; `example`: such an entry; `surfaces`: where the rule holds;
    `reads`: the item attributes that it needs. The docstring's first line is its meaning on pages.
    """

    key: ClassVar[str]
    example: ClassVar[str]
    surfaces: ClassVar[tuple[str, ...]]

    @property
    def reads(self) -> tuple[str, ...]: ...

    @classmethod
    def from_toml(cls, entry: Any) -> SlateRule | None:
        """The rule of an entry's TOML value, None where it asks for nothing; raises ValueError with what to write."""
        ...

    def to_toml(self) -> Any:
        """The entry's TOML value, which `from_toml` reads back."""
        ...

    def limits(self, attributes: ItemAttributes, *, rules: Sequence[SlateRule]) -> list[Limit]:
        """The rule over one slate's candidates; `rules` are all that hold beside it, itself included."""
        ...


class RemainingSlots:
    """What the rules still leave room for while k places are filled: `worth` float64 [n] becomes -inf where not."""

    def __init__(self, worth: np.ndarray, rules: Sequence[SlateRule], attributes: ItemAttributes, *, k: int) -> None:
        self.worth = worth.copy()
        self._places = k
        self._open = len(worth)
        self._limits = [limit for rule in rules for limit in rule.limits(attributes, rules=rules)]

    @property
    def exhausted(self) -> bool:
        """Whether no item may take the next place."""
        return self._open == 0

    def worth_now(self) -> np.ndarray:
        """`worth`, without those for whom the next place is not meant."""
        worth = self.worth
        for limit in self._limits:
            reserved = limit.reserved(worth > -np.inf, places=self._places)
            if reserved is not None:
                narrowed = np.where(reserved, worth, -np.inf)
                worth = narrowed if narrowed.max() > -np.inf else worth
        return worth

    def drawn(self, left: np.ndarray) -> np.ndarray | None:
        """float64 [n]: the probabilities that the rules give those `left` for the next place whatever the values."""
        parts = [part for limit in self._limits if (part := limit.drawn(left)) is not None]
        return np.sum(parts, axis=0) if parts else None

    def take(self, row: int) -> None:
        """Item `row` takes the next place."""
        self.worth[row] = -np.inf
        self._open -= 1
        self._places -= 1
        for limit in self._limits:
            closed = limit.take(row)
            if closed is not None:
                closing = np.flatnonzero(closed & (self.worth > -np.inf))
                self.worth[closing] = -np.inf
                self._open -= len(closing)


def enough(rules: Sequence[SlateRule], attributes: ItemAttributes, *, n: int, k: int) -> bool:
    """Whether n candidates hold k that may share a slate: what the shortlist asks before it leaves the others out."""
    rows = np.arange(n)
    for rule in rules:
        for limit in rule.limits(attributes, rules=rules):
            rows = limit.together(rows, k=k)
    return len(rows) >= k
