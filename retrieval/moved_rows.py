"""Moved rows: a matrix that is left as it is, perhaps mapped from a file, with some of its rows written over."""

from __future__ import annotations

from copy import copy

import numpy as np

FIRST = 64  # rows that there is memory for before the first is written


class MovedRows:
    """[n + room, d] float32: the rows of `base` [n, d], then zeros, each as it was written last.

    A row that is written takes memory of its own; `base` stays shared. The thread that writes may read at any time, and
    so may any other that reads what is `frozen`.
    """

    def __init__(self, base: np.ndarray, *, room: int) -> None:
        place = np.full(len(base) + room, -1, np.int32)  # among the written rows; -1 = as it was
        # Base, place and written rows: one tuple, so that a reader sees those of one moment.
        self._state = base, place, np.zeros((FIRST, base.shape[1]), np.float32)
        self._count = 0  # of written rows

    def __len__(self) -> int:
        return len(self._state[1])

    def __getitem__(self, rows: int | np.ndarray) -> np.ndarray:
        """The rows of numbers or of a mask; float32 [m, d], or [d] of one number."""
        numbers = np.atleast_1d(np.asarray(rows))
        numbers = np.flatnonzero(numbers) if numbers.dtype == bool else numbers
        base, places, written = self._state
        place = places[numbers]
        result = base[np.minimum(numbers, len(base) - 1)]
        result[(place < 0) & (numbers >= len(base))] = 0
        result[place >= 0] = written[place[place >= 0]]
        return result if np.ndim(rows) else result[0]

    def write(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Rows (numbers) have these values [m, d] from now on; of a row that occurs twice the last counts."""
        base, places, written = self._state
        new = np.unique(rows[places[rows] < 0])
        if self._count + len(new) > len(written):
            size = max(2 * len(written), self._count + len(new))
            written = np.concatenate([written, np.zeros((size - len(written), written.shape[1]), np.float32)])
            self._state = base, places, written
        place = places[rows]
        place[place < 0] = self._count + np.searchsorted(new, rows[place < 0])
        written[place] = values
        places[rows] = place
        self._count += len(new)

    def products(self, query: np.ndarray) -> np.ndarray:
        """float32 [n + room]: inner products with `query` [d]; -inf of rows behind the base that were not written."""
        base, places, written = self._state
        result = np.full(len(places), -np.inf, np.float32)
        result[: len(base)] = base @ query
        rows = np.flatnonzero(places >= 0)
        result[rows] = written[places[rows]] @ query
        return result

    def frozen(self) -> MovedRows:
        """A copy, over the same base, that later writes do not reach."""
        result = copy(self)
        base, places, written = self._state
        result._state = base, places.copy(), written.copy()
        return result

    def snapshot(self) -> np.ndarray:
        """float32 [m, d]: all rows up to the last that is not vacant."""
        base, places, written = self._state
        rows = np.flatnonzero(places >= 0)
        result = np.zeros((max(len(base), rows.max(initial=-1) + 1), base.shape[1]), np.float32)
        result[: len(base)] = base
        result[rows] = written[places[rows]]
        return result

    def rest_on(self, base: np.ndarray, *, moved: np.ndarray) -> None:
        """A newer base [m, d], which holds the rows as they are but for those that `moved` since (bool [n + room])."""
        _, places, written = self._state
        kept = np.flatnonzero(moved & (places >= 0))
        fresh = np.full(len(places), -1, np.int32)
        fresh[kept] = np.arange(len(kept))
        room = np.zeros((FIRST, base.shape[1]), np.float32)
        self._state, self._count = (base, fresh, np.concatenate([written[places[kept]], room])), len(kept)
