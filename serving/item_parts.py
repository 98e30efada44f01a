"""What the model computes from an item alone, kept for the next request; of a whole catalogue where a bundle has it.

A slot (catalogue row modulo capacity) holds an item's encoded inputs and its part; a part is used only where the
inputs are the same bits, so an item whose features changed is computed anew, and nothing needs to be invalidated.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

CAPACITY = 131_072  # items kept; memory is touched as slots fill
AT_ONCE, SAMPLE = 4_096, 64  # rows of a whole catalogue
TILE = 16  # rows: calls are padded to a multiple, since the last few values of a call may round differently from others

Compute = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class ItemParts:
    """A direct-mapped store of float32 parts [H] by item; `compute(codes, lists, numbers)` gives [n, H] of n rows."""

    def __init__(self, compute: Compute, *, part_width: int, capacity: int = CAPACITY) -> None:
        self._compute, self._capacity = compute, capacity
        self._parts = np.empty((capacity, part_width), np.float32)
        self._inputs = np.empty((capacity, 0), np.int32)  # as wide as the first request's
        self._filled = np.zeros(capacity, bool)
        self.computed = 0  # rows computed so far

    def all_of(self, codes: np.ndarray, lists: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Parts float32 [n, H] of a whole catalogue."""
        parts = np.empty((len(codes), self._parts.shape[1]), np.float32)
        for start in range(0, len(codes), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            parts[some] = self._fresh(codes[some], lists[some], numbers[some])[: len(parts[some])]
        return parts

    def keep(self, parts: np.ndarray, codes: np.ndarray, lists: np.ndarray, numbers: np.ndarray) -> bool:
        """Keep the `parts` of rows 0 to n - 1, as `all_of` computes them; they are written to as items change.

        False, and nothing is kept, where they do not fit, or where a sample computed here is not the same bits.
        """
        if parts.shape != (self._capacity, self._parts.shape[1]):
            return False
        some = np.linspace(0, len(parts) - 1, min(len(parts), SAMPLE)).astype(np.int64)
        if not np.array_equal(self._fresh(codes[some], lists[some], numbers[some])[: len(some)], parts[some]):
            return False
        self._parts, self._inputs = parts, _bits(codes, lists, numbers)
        self._filled[:] = True
        return True

    def of(
        self, codes: np.ndarray, lists: np.ndarray, numbers: np.ndarray, *, items: np.ndarray | None = None
    ) -> np.ndarray:
        """Parts float32 [tiled(n), H], of which the first n count.

        `items` int32 [n] are catalogue rows, None = compute everything and keep nothing.
        """
        if items is None:
            return self._fresh(codes, lists, numbers)
        n = len(items)
        slots = items % self._capacity
        inputs = _bits(codes, lists, numbers)
        if self._inputs.shape[1] != inputs.shape[1]:
            self._inputs = np.empty((self._capacity, inputs.shape[1]), np.int32)
        same, filled = self._inputs.take(slots, axis=0) == inputs, self._filled.take(slots)
        parts = np.empty((tiled(n), self._parts.shape[1]), np.float32)
        parts[n:] = 0.0
        np.take(self._parts, slots, axis=0, out=parts[:n], mode="clip")
        if not (filled.all() and same.all()):  # the usual case is quicker to see than each row's
            new = np.flatnonzero(~(filled & same.all(axis=1)))
            parts[new] = self._fresh(codes[new], lists[new], numbers[new])[: len(new)]
            # Candidates that share a slot overwrite each other in order, inputs and part alike.
            self._parts[slots[new]], self._inputs[slots[new]] = parts[new], inputs[new]
            self._filled[slots[new]] = True
        return parts

    def _fresh(self, codes: np.ndarray, lists: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        self.computed += len(codes)
        return self._compute(padded(codes), padded(lists), padded(numbers))


def _bits(codes: np.ndarray, lists: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """int32 [n, inputs]"""
    return np.concatenate([codes, lists, np.ascontiguousarray(numbers).view(np.int32)], axis=1)


def tiled(n: int) -> int:
    """n, or the next multiple of TILE."""
    return n + -n % TILE


def padded(rows: np.ndarray) -> np.ndarray:
    """[tiled(n), ...]: rows of zeros at the end."""
    if len(rows) == tiled(len(rows)):
        return rows
    longer = np.zeros((tiled(len(rows)), *rows.shape[1:]), rows.dtype)
    longer[: len(rows)] = rows
    return longer
