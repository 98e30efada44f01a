"""Training rows in Parquet files: a row a request, its items' cells as lists; read a row group at a time.

| column | holds |
|---|---|
| `request_id`, `time`, `surface`, `user_id` | the request |
| `user_codes`, `user_lists`, `user_numbers` | k cells |
| `item_codes`, `item_lists`, `item_numbers`, `cross_codes`, ..., `presentation` | n x k cells, item by item |
| `position`, `weight`, `label NAME`, `so far NAME`, `come NAME` | n cells |

n items a request; the widths k lie in the file's metadata. A group holds GROUP requests, so that a reader's memory is
bounded whatever the files hold.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.spec import ModelInputs
from marketplace.schema import TIME
from marketplace.slate_columns import to_numpy
from marketplace.splits import microseconds
from value_model.rankers.batches import batches, request_offsets
from value_model.rankers.ranker import OpenLabel, RankingData

GROUP = 1_000  # requests
WIDTHS = b"widths"
REQUEST = ("request_id", "time", "surface", "user_id")
LABEL, SO_FAR, COME = "label ", "so far ", "come "  # before a label's name
INPUTS = tuple(field.name for field in fields(ModelInputs) if field.name != "request")


@dataclass(frozen=True)
class RowFiles:
    """Groups of rows (a file and the number of its group), which are read when they are needed.

    Of them count the requests before `until` (UTC microseconds), and of their labels those of `labels`.
    """

    groups: tuple[tuple[Path, int], ...]
    until: int
    labels: tuple[str, ...]

    @classmethod
    def of(cls, files: Iterable[Path], *, until: int, labels: Collection[str]) -> RowFiles:
        """Those groups of the files that hold a request before `until`."""
        groups = [(file, number) for file in files for number in _begun(file, until)]
        return cls(tuple(groups), until, tuple(labels))

    def shard(self, worker: int, *, workers: int) -> RowFiles:
        """The groups of one of several workers."""
        return replace(self, groups=self.groups[worker::workers])

    def sample(self, groups: int, *, rng: np.random.Generator) -> RankingData:
        """The rows of so many groups, drawn at random, at once."""
        few = np.sort(rng.permutation(len(self.groups))[:groups])
        return data_of(pa.concat_tables([self._read(*self.groups[number]) for number in few]))

    def batches(self, *, size: int, rng: np.random.Generator | None) -> Iterator[RankingData]:
        """Batches of `size` requests, group after group; groups, and requests in them, are shuffled by `rng`."""
        order = np.arange(len(self.groups)) if rng is None else rng.permutation(len(self.groups))
        for number in order:
            yield from batches(data_of(self._read(*self.groups[number])), size=size, rng=rng)

    def _read(self, file: Path, number: int) -> pa.Table:
        with pq.ParquetFile(file) as content:
            prefixes = tuple(prefix + name for prefix in (LABEL, SO_FAR, COME) for name in self.labels)
            names = content.schema_arrow.names
            kept = [name for name in names if name in prefixes or not name.startswith((LABEL, SO_FAR, COME))]
            rows = content.read_row_group(number, columns=kept)
        early = microseconds(rows["time"]) < self.until
        return rows if early.all() else rows.filter(pa.array(early))


def _begun(file: Path, until: int) -> Iterator[int]:
    """The numbers of a file's groups with a request before `until`."""
    with pq.ParquetFile(file) as content:
        for number in range(content.num_row_groups):
            rows = content.metadata.row_group(number)
            columns = [rows.column(one) for one in range(rows.num_columns)]
            least = next(one.statistics.min for one in columns if one.path_in_schema == "time")
            if pa.scalar(least, TIME).value < until:
                yield number


def rows_table(data: RankingData, requests: pa.Table) -> pa.Table:
    """The rows of `data` as they are kept; `requests` holds REQUEST of each."""
    offsets = request_offsets(data.inputs.request, len(requests))
    single = np.arange(len(requests) + 1)
    columns = {name: requests[name] for name in REQUEST}
    widths = {}
    of_rows = {"position": data.position, "weight": data.weight} | {
        LABEL + name: label for name, label in data.labels.items()
    }
    for name, one in data.open.items():
        of_rows |= {SO_FAR + name: one.recorded, COME + name: one.come}
    packed = {name: getattr(data.inputs, name) for name in INPUTS}
    if data.presentation is not None:
        packed["presentation"] = data.presentation
    for name, cells in packed.items():
        widths[name] = cells.shape[1]
        starts = single if name.startswith("user_") else offsets
        columns[name] = _lists(cells.reshape(-1), starts * cells.shape[1])
    columns |= {name: _lists(cells, offsets) for name, cells in of_rows.items()}
    return pa.table(columns).replace_schema_metadata({WIDTHS: json.dumps(widths)})


def data_of(table: pa.Table) -> RankingData:
    """What `rows_table` made a table of."""
    widths = json.loads(table.schema.metadata[WIDTHS])
    cells = {name: to_numpy(pc.list_flatten(table[name])) for name in table.column_names if name not in REQUEST}
    rows = len(cells["position"])
    packed = {
        name: cells.pop(name).reshape(len(table) if name.startswith("user_") else rows, width)
        for name, width in widths.items()
    }
    lengths = to_numpy(pc.list_value_length(table["position"]))
    inputs = {name: packed[name] for name in INPUTS}
    so_far, come, labels = (_named(cells, prefix) for prefix in (SO_FAR, COME, LABEL))
    return RankingData(
        ModelInputs(**inputs, request=np.repeat(np.arange(len(table), dtype=np.int32), lengths)),
        labels,
        cells["position"],
        cells["weight"],
        presentation=packed.get("presentation"),
        open={name: OpenLabel(so_far[name], share) for name, share in come.items()},
    )


def _named(cells: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The columns that begin so, by the rest of their names."""
    return {name.removeprefix(prefix): values for name, values in cells.items() if name.startswith(prefix)}


def _lists(cells: np.ndarray, offsets: np.ndarray) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(np.ascontiguousarray(cells)))
