"""What the model computes from an item alone, kept for the next request.

A slot (catalogue row modulo capacity) holds an item's encoded inputs and its part; a part is used only where the
inputs are the same bits, so an item whose features changed is computed anew, and nothing needs to be invalidated.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

CAPACITY = 65_536  # items kept; memory is touched as slots fill
LEAST = 2  # rows a call: a matrix product of a single row may round differently from the same row among others

Compute = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class ItemParts:
    """A direct-mapped store of float32 parts [H] by item; `compute(codes, lists, numbers)` gives [n, H]."""

    def __init__(self, compute: Compute, *, part_width: int, capacity: int = CAPACITY) -> None:
        self._compute, self._capacity = compute, capacity
        self._parts = np.empty((capacity, part_width), np.float32)
        self._inputs = np.empty((capacity, 0), np.int32)  # as wide as the first request's
        self._filled = np.zeros(capacity, bool)
        self.computed = 0  # rows computed so far

    def of(
        self, codes: np.ndarray, lists: np.ndarray, numbers: np.ndarray, *, items: np.ndarray | None = None
    ) -> np.ndarray:
        """Parts float32 [n, H]; `items` int32 [n] are catalogue rows, None = compute everything and keep nothing."""
        if items is None:
            return self._fresh(codes, lists, numbers)
        slots = items % self._capacity
        inputs = np.concatenate([codes, lists, np.ascontiguousarray(numbers).view(np.int32)], axis=1)
        if self._inputs.shape[1] != inputs.shape[1]:
            self._inputs = np.empty((self._capacity, inputs.shape[1]), np.int32)
        kept = self._filled[slots] & (self._inputs[slots] == inputs).all(axis=1)
        parts = self._parts[slots]
        if not kept.all():
            new = np.flatnonzero(~kept)
            parts[new] = self._fresh(codes[new], lists[new], numbers[new])
            # Candidates that share a slot overwrite each other in order, inputs and part alike.
            self._parts[slots[new]], self._inputs[slots[new]] = parts[new], inputs[new]
            self._filled[slots[new]] = True
        return parts

    def _fresh(self, codes: np.ndarray, lists: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        n = len(codes)
        self.computed += n
        if n < LEAST:
            codes, lists, numbers = (np.repeat(column, LEAST, axis=0) for column in (codes, lists, numbers))
        return self._compute(codes, lists, numbers)[:n]
