"""What a slate must respect: caps per merchant and category, and a quota of newcomers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from value_model.slate_policies.slate_policy import ItemAttributes


@dataclass(frozen=True)
class Rules:
    """At most `merchant_cap` items a merchant, `category_cap` a category; at least `newcomers` of new merchants.

    Caps are hard: a slate ends early rather than break one. The quota is met as far as the candidates and
    the merchant cap allow; a category cap may stand in its way.
    """

    merchant_cap: int | None = None
    category_cap: int | None = None
    newcomers: int = 0

    def __post_init__(self) -> None:
        for name in ("merchant_cap", "category_cap"):
            cap = getattr(self, name)
            if cap is not None and cap < 1:
                raise ValueError(f"{name} is {cap}; a cap is 1 or more, or None.")
        if self.newcomers < 0:
            raise ValueError(f"newcomers is {self.newcomers}; a quota is 0 or more.")


class RemainingSlots:
    """What the rules still leave room for while a slate is filled: `worth` float64 [n] becomes -inf where not."""

    def __init__(self, worth: np.ndarray, rules: Rules, traits: ItemAttributes, *, k: int) -> None:
        self.worth = worth.copy()
        self._left = k
        self._open = len(worth)
        self._caps: list[tuple[np.ndarray, dict[int, int], int]] = []
        if rules.merchant_cap is not None:
            self._caps.append((_required(traits.merchant, "merchant"), {}, rules.merchant_cap))
        if rules.category_cap is not None:
            self._caps.append((_required(traits.category, "category"), {}, rules.category_cap))
        self._owed = 0
        if rules.newcomers:
            self._newcomer = _required(traits.newcomer, "newcomer")
            self._owed = min(rules.newcomers, _obtainable(self._newcomer, traits.merchant, rules.merchant_cap))
            self._old = np.where(self._newcomer, 0.0, -np.inf)

    @property
    def exhausted(self) -> bool:
        """Whether no item may take the next place."""
        return self._open == 0

    def worth_now(self) -> np.ndarray:
        """`worth`, without the old merchants where only newcomers can still meet the quota."""
        if self._owed and self._owed >= self._left:
            newcomers = self.worth + self._old
            if newcomers.max() > -np.inf:
                return newcomers
        return self.worth

    def take(self, row: int) -> None:
        """Item `row` takes the next place."""
        self.worth[row] = -np.inf
        self._open -= 1
        self._left -= 1
        if self._owed and self._newcomer[row]:
            self._owed -= 1
        for codes, counts, cap in self._caps:
            code = codes[row]
            counts[code] = counts.get(code, 0) + 1
            if counts[code] == cap:
                closing = np.flatnonzero((codes == code) & (self.worth > -np.inf))
                self.worth[closing] = -np.inf
                self._open -= len(closing)


def _required(codes: np.ndarray | None, name: str) -> np.ndarray:
    if codes is None:
        raise ValueError(f"the rules speak of {name}, but the candidates lack it: pass ItemAttributes({name}=...).")
    return codes


def _obtainable(newcomer: np.ndarray, merchant: np.ndarray | None, cap: int | None) -> int:
    """How many newcomers' items the merchant cap lets in."""
    if merchant is None or cap is None:
        return int(newcomer.sum())
    _, counts = np.unique(merchant[newcomer], return_counts=True)
    return int(np.minimum(counts, cap).sum())
