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
from itertools import chain, islice, repeat
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.spec import ModelInputs
from marketplace.schema import TIME
from marketplace.slate_columns import to_numpy
from marketplace.splits import microseconds
from value_model.rankers.batches import batches, request_offsets, take
from value_model.rankers.ranker import OpenLabel, RankingData

GROUP = 1_000  # requests
EVER, NEVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max
WIDTHS = b"widths"
REQUEST = ("request_id", "time", "surface", "user_id")
LABEL = "label "  # before a label's name
SO_FAR, COME = "so far ", "come "  # of one that is open: as recorded so far, and the share that has come
INPUTS = tuple(field.name for field in fields(ModelInputs) if field.name != "request")
Cells = TypeVar("Cells")


class RowGroup(NamedTuple):
    """Requests that lie together in a file, and how many rows are theirs."""

    file: Path
    number: int
    requests: int
    rows: int


@dataclass(frozen=True)
class RowFiles:
    """Groups of rows, which are read when they are needed.

    Of them count the requests of `since` <= time < `until` (UTC microseconds), and of their labels those of `labels`.
    """

    groups: tuple[RowGroup, ...]
    labels: tuple[str, ...]
    since: int
    until: int

    @classmethod
    def of(cls, files: Iterable[Path], *, labels: Collection[str], since: int = EVER, until: int = NEVER) -> RowFiles:
        """Those groups of the files that hold a request of these times."""
        groups = [group for file in files for group in _groups(file, since, until)]
        return cls(tuple(groups), tuple(labels), since, until)

    @property
    def rows(self) -> int:
        """The rows of all groups, with those of other times that lie among them."""
        return sum(group.rows for group in self.groups)

    def table(self) -> pa.Table:
        """All rows at once, as they are kept."""
        return pa.concat_tables([self._read(group) for group in self.groups])

    def sample(self, rows: int, *, rng: np.random.Generator) -> RowFiles:
        """Groups drawn at random, until the next one would make them more than `rows`; one at least."""
        order = rng.permutation(len(self.groups))
        count = np.searchsorted(np.cumsum([self.groups[number].rows for number in order]), rows, "right")
        drawn = np.sort(order[: max(int(count), 1)])
        return replace(self, groups=tuple(self.groups[number] for number in drawn))

    def batches(self, *, size: int, rng: np.random.Generator | None) -> Iterator[RankingData]:
        """Batches of `size` requests, group after group; groups, and requests in them, are shuffled by `rng`."""
        for number in self._order(rng):
            yield from batches(data_of(self._read(self.groups[number])), size=size, rng=rng)

    def batches_of_worker(
        self, worker: int, *, workers: int, size: int, rng: np.random.Generator
    ) -> Iterator[RankingData]:
        """What one of several workers reads: every so many-th group, in batches of its share of `size` requests.

        All take equally many steps, in an order of groups that is the same for all (`rng` begins alike); who has no
        request left for a step has a batch of none.
        """
        order, share = self._order(rng), -(-size // workers)
        for turn in range(0, len(order), workers):
            groups = [self.groups[number] for number in order[turn : turn + workers]]
            steps = max(-(-group.requests // share) for group in groups)
            data = data_of(self._read(groups[min(worker, len(groups) - 1)]))
            none = take(data, np.arange(0), offsets=np.zeros(1, np.int64))
            few = batches(data, size=share, rng=rng) if worker < len(groups) else iter(())
            yield from islice(chain(few, repeat(none)), steps)

    def _order(self, rng: np.random.Generator | None) -> np.ndarray:
        return np.arange(len(self.groups)) if rng is None else rng.permutation(len(self.groups))

    def _read(self, group: RowGroup) -> pa.Table:
        with pq.ParquetFile(group.file) as content:
            prefixes = tuple(prefix + name for prefix in (LABEL, SO_FAR, COME) for name in self.labels)
            names = content.schema_arrow.names
            kept = [name for name in names if name in prefixes or not name.startswith((LABEL, SO_FAR, COME))]
            rows = content.read_row_group(group.number, columns=kept)
        time = microseconds(rows["time"])
        within = (self.since <= time) & (time < self.until)
        return rows if within.all() else rows.filter(pa.array(within))


def _groups(file: Path, since: int, until: int) -> Iterator[RowGroup]:
    """A file's groups with a request of these times."""
    with pq.ParquetFile(file) as content:
        for number in range(content.num_row_groups):
            group = content.metadata.row_group(number)
            columns = {(one := group.column(place)).path_in_schema: one for place in range(group.num_columns)}
            times = columns["time"].statistics
            first, last = (pa.scalar(moment, TIME).value for moment in (times.min, times.max))
            if first < until and last >= since:
                rows = next(one.num_values for name, one in columns.items() if name.startswith("position."))
                yield RowGroup(file, number, group.num_rows, rows)


def rows_table(data: RankingData, requests: pa.Table) -> pa.Table:
    """The rows of `data` as they are kept; `requests` holds REQUEST of each."""
    offsets = request_offsets(data.inputs.request, len(requests))
    single = np.arange(len(requests) + 1)
    columns = {name: requests[name].cast(TIME if name == "time" else pa.string()) for name in REQUEST}
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
    so_far, come, labels = (by_label(cells, prefix) for prefix in (SO_FAR, COME, LABEL))
    return RankingData(
        ModelInputs(**inputs, request=np.repeat(np.arange(len(table), dtype=np.int32), lengths)),
        labels,
        cells["position"],
        cells["weight"],
        presentation=packed.get("presentation"),
        open={name: OpenLabel(so_far[name], share) for name, share in come.items()},
    )


def by_label(cells: Mapping[str, Cells], prefix: str) -> dict[str, Cells]:
    """The columns that begin with LABEL, SO_FAR or COME, by the label's name."""
    return {name.removeprefix(prefix): values for name, values in cells.items() if name.startswith(prefix)}


def _lists(cells: np.ndarray, offsets: np.ndarray) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(np.ascontiguousarray(cells)))
