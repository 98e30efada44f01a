"""The forests of a served ranker as files, mapped into memory, so that the workers of a machine share them.

forests.json      by forest, its words, and the columns that it tests: packed input, column, bins
words.npy         int32, of every column [bins, words], one behind the other
thresholds.npy    float32, of every number [bins - 1]
leaves.npy        int64, of every forest [words, WORD]
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from value_model.rankers.forest import Place
from value_model.rankers.forest_tables import WORD, ColumnTable, ForestTables

LAYOUT = "forests.json"
WORDS, THRESHOLDS, LEAVES = "words.npy", "thresholds.npy", "leaves.npy"


def save_forests(forests: Sequence[ForestTables], folder: Path) -> None:
    """Write the four files."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = [column for forest in forests for column in forest.columns]
    numbers = [column.thresholds for column in columns if column.thresholds is not None]
    _write(folder / WORDS, (column.words for column in columns), np.int32)
    _write(folder / THRESHOLDS, numbers, np.float32)
    _write(folder / LEAVES, (forest.leaf_values for forest in forests), np.int64)
    layout = [
        {
            "words": len(forest.leaf_values),
            "columns": [[column.place.packed, column.place.column, len(column.words)] for column in forest.columns],
        }
        for forest in forests
    ]
    (folder / LAYOUT).write_text(json.dumps(layout, indent=1) + "\n")


def load_forests(folder: Path) -> tuple[ForestTables, ...]:
    """What `save_forests` wrote."""
    words, thresholds, leaves = (_reader(folder / name) for name in (WORDS, THRESHOLDS, LEAVES))
    forests = []
    for row in json.loads((folder / LAYOUT).read_text()):
        columns = []
        for packed, column, bins in row["columns"]:
            place = Place(packed, column)
            edges = None if place.is_category else thresholds(bins - 1)
            columns.append(ColumnTable(place, edges, words(bins, row["words"])))
        forests.append(ForestTables(leaves(row["words"], WORD), tuple(columns)))
    return tuple(forests)


def _write(path: Path, parts: Iterable[np.ndarray], kind: type) -> None:
    np.save(path, np.concatenate([np.zeros(0, kind), *(part.ravel() for part in parts)]), allow_pickle=False)


def _reader(path: Path) -> Callable[..., np.ndarray]:
    """Gives the file's next values in the shape that it is called with."""
    values, start = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)), 0

    def following(*shape: int) -> np.ndarray:
        nonlocal start
        first, start = start, start + int(np.prod(shape))
        return values[first:start].reshape(shape)

    return following
