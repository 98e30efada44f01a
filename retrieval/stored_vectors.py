"""Stored vectors: embeddings kept as float32, bfloat16 or int8, and read back as float32.

bfloat16 is the upper half of a float32, rounded to even: half the memory, 8 bits of precision. int8 is a number of
-127 .. 127 times the row's scale max|x| / 127: a quarter of it. Files are mapped, not read, so that the processes of
a machine share their pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

STORAGES = ("float32", "bfloat16", "int8")
HALF = 16  # bits


@dataclass(frozen=True, eq=False)
class StoredVectors:
    """n vectors: `values` [n, d] float32, uint16 (bfloat16) or int8; `scale` float32 [n] of int8 alone."""

    values: np.ndarray
    scale: np.ndarray | None = None

    @classmethod
    def of(cls, embeddings: np.ndarray, *, storage: str) -> StoredVectors:
        """The vectors float32 [n, d] as `storage` keeps them."""
        if storage == "bfloat16":
            bits = np.ascontiguousarray(embeddings, np.float32).view(np.uint32)
            even = (bits >> HALF) & 1
            return cls(((bits + (2 ** (HALF - 1) - 1) + even) >> HALF).astype(np.uint16))
        if storage == "int8":
            scale = (np.abs(embeddings).max(axis=1, initial=0.0) / 127).astype(np.float32)
            return cls(np.rint(embeddings / np.maximum(scale, 1e-30)[:, None]).astype(np.int8), scale)
        return cls(np.ascontiguousarray(embeddings, np.float32))

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, places: slice | np.ndarray) -> np.ndarray:
        """float32 [m, d]."""
        values = self.values[places]
        if self.scale is not None:
            return values * self.scale[places, None]
        return (values.astype(np.uint32) << HALF).view(np.float32) if values.dtype == np.uint16 else values

    def save(self, folder: Path) -> None:
        """NumPy files."""
        np.save(folder / "exact.npy", self.values, allow_pickle=False)
        if self.scale is not None:
            np.save(folder / "scale.npy", self.scale, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> StoredVectors:
        """Mapped, for reading."""
        scale = folder / "scale.npy"
        return cls(mapped(folder / "exact.npy"), mapped(scale) if scale.exists() else None)


def mapped(path: Path) -> np.ndarray:
    """A NumPy file's array, mapped for reading."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
