"""Decayed counts of items by segment, or by some of the parts of a segment such as "Paris|mobile"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import sparse

from features.interactions import Interactions
from retrieval.decayed import DecayedCounts

SEPARATOR = "|"  # between the parts of a segment
ALL = -1  # stands for levels = None in a file


class SegmentCounts:
    """Decayed counts of items by segment; `levels`: the numbers of the parts that count, None = all of it."""

    def __init__(self, n_items: int, *, half_life_days: float, levels: tuple[int, ...] | None) -> None:
        self._levels = levels
        self._decayed = DecayedCounts(n_items, half_life_days=half_life_days)

    def update(self, events: Interactions) -> None:
        """Add further interactions and age the rest to their end."""
        key = self._parts_of_each(events.segment)
        self._decayed.update(key, events.item, events.time, events.weight, until=events.until)

    @property
    def counts(self) -> sparse.csr_matrix:
        """[segments, items]."""
        return self._decayed.counts

    def row(self, segment: str) -> int | None:
        """The row of `counts` that holds a segment; None for an unknown one."""
        return self._decayed.names.get(self._parts(segment))

    def of(self, segment: str, items: np.ndarray) -> np.ndarray:
        """Float64 [m]: a segment's counts of items, 0 where there is none."""
        return self._decayed.of(self._parts(segment), items)

    def save(self, folder: Path, **settings: float | str) -> None:
        """Write the counts, and the settings of the source that they belong to, without pickle."""
        folder.mkdir(parents=True, exist_ok=True)
        self._decayed.save(folder / "segments.npz")
        levels = np.array([ALL] if self._levels is None else self._levels, np.int64)
        arrays = {name: np.array(setting) for name, setting in settings.items()}
        np.savez(folder / "settings.npz", allow_pickle=False, levels=levels, **arrays)

    @classmethod
    def load(cls, folder: Path) -> tuple[SegmentCounts, dict[str, Any]]:
        """(the counts that `save` wrote, the keywords of the source: its settings, half-life and levels)."""
        decayed = DecayedCounts.load(folder / "segments.npz")
        with np.load(folder / "settings.npz", allow_pickle=False) as file:
            settings = {name: file[name].item() for name in file.files if name != "levels"}
            levels = None if file["levels"][0] == ALL else tuple(file["levels"].tolist())
        shape = {"n_items": decayed.counts.shape[1], "half_life_days": decayed.half_life_days, "levels": levels}
        loaded = cls(**shape)
        loaded._decayed = decayed
        return loaded, shape | settings

    def _parts(self, segment: str) -> str:
        if self._levels is None:
            return segment
        parts = segment.split(SEPARATOR)
        return SEPARATOR.join(parts[level] for level in self._levels)

    def _parts_of_each(self, segments: pa.DictionaryArray) -> pa.DictionaryArray:
        if self._levels is None:
            return segments
        names = [self._parts(name) for name in segments.dictionary.to_pylist()]
        distinct = pa.array(names, pa.string()).dictionary_encode()
        return pa.DictionaryArray.from_arrays(distinct.indices.take(segments.indices), distinct.dictionary)
