"""The limits that rules are made of: at most so many, at least so many, a kind before or last, a quota drawn."""

from __future__ import annotations

import numpy as np


class AtMost:
    """At most `most` items of every code, int [n]; a code below 0 is not known and not limited.

    Hard: a slate ends early rather than break it.
    """

    def __init__(self, code: np.ndarray, most: int) -> None:
        self._code, self._most = code, most
        self._count: dict[int, int] = {}

    def take(self, row: int) -> np.ndarray | None:
        code = self._code[row]
        count = self._count[code] = self._count.get(code, 0) + 1
        return self._code == code if count == self._most and code >= 0 else None

    def reserved(self, left: np.ndarray, *, places: int) -> None:
        return None

    def drawn(self, left: np.ndarray) -> None:
        return None

    def together(self, rows: np.ndarray, *, k: int) -> np.ndarray:
        return rows[earliest(self._code[rows], self._most)]


class AtLeast:
    """At least `least` of the items that are `kind`, bool [n], or `reachable` if that is fewer."""

    def __init__(self, kind: np.ndarray, least: int, *, reachable: int) -> None:
        self._kind, self._least = kind, least
        self._due = min(least, reachable)

    def take(self, row: int) -> None:
        if self._due and self._kind[row]:
            self._due -= 1

    def reserved(self, left: np.ndarray, *, places: int) -> np.ndarray | None:
        return self._kind if self._due and self._due >= places else None

    def drawn(self, left: np.ndarray) -> None:
        return None

    def together(self, rows: np.ndarray, *, k: int) -> np.ndarray:
        return rows if np.count_nonzero(self._kind[rows]) >= min(self._least, k) else rows[:0]


class BestFirst:
    """The highest number, int [n], takes every place while any of it is left."""

    def __init__(self, number: np.ndarray) -> None:
        self._number = number

    def take(self, row: int) -> None:
        return None

    def reserved(self, left: np.ndarray, *, places: int) -> np.ndarray | None:
        return self._number == self._number[left].max(initial=0)

    def drawn(self, left: np.ndarray) -> None:
        return None

    def together(self, rows: np.ndarray, *, k: int) -> np.ndarray:
        return rows


class DrawnQuota:
    """Every place goes with probability `share` to one of the `kind`, bool [n], at equal odds, until `most` stand."""

    def __init__(self, kind: np.ndarray, share: float, most: int) -> None:
        self._kind, self._share, self._room = kind, share, most

    def take(self, row: int) -> None:
        self._room -= int(self._kind[row])

    def reserved(self, left: np.ndarray, *, places: int) -> None:
        return None

    def drawn(self, left: np.ndarray) -> np.ndarray | None:
        eligible = self._kind & left
        count = np.count_nonzero(eligible)
        return eligible * (self._share / count) if count and self._room > 0 else None

    def together(self, rows: np.ndarray, *, k: int) -> np.ndarray:
        return rows


class LastResort:
    """Items of a kind, bool [n], take a place only when no others are left."""

    def __init__(self, kind: np.ndarray) -> None:
        self._kind = kind

    def take(self, row: int) -> None:
        return None

    def reserved(self, left: np.ndarray, *, places: int) -> np.ndarray | None:
        return ~self._kind if (left & ~self._kind).any() else None

    def drawn(self, left: np.ndarray) -> None:
        return None

    def together(self, rows: np.ndarray, *, k: int) -> np.ndarray:
        return rows[~self._kind[rows]]


def earliest(code: np.ndarray, most: int) -> np.ndarray:
    """bool [n]: the first `most` of every code, and all of a code below 0."""
    order = np.argsort(code, kind="stable")
    ordered = code[order]
    start = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(code) else order
    place = np.empty(len(code), np.int64)
    place[order] = np.arange(len(code)) - np.repeat(start, np.diff(np.append(start, len(code))))
    return (place < most) | (code < 0)
