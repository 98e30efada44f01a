"""Join a service's log into training rows: one row an item considered, with its features as served and its labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.tables import print_counts
from marketplace.attribution import attribute
from marketplace.log_place import Place, shown_place
from marketplace.open_log import open_log
from marketplace.schema import ITEM_FIELDS
from marketplace.slate_columns import flat, item_offsets, names, numeric_features, predictions, request_of_rows

REQUEST_COLUMNS = ("request_id", "time", "surface", "user_id", "policy_version", "feature_spec_version")


def join_feedback(log: Place, *, out: Path) -> None:
    """Write the rows of `log` to `out` (Parquet), and print where every event went."""
    kept = open_log(log)
    slates, feedback = kept.slates(), kept.feedback()
    kept.close()
    if not len(slates):
        raise ValueError(f"{shown_place(log)} holds no slates yet: serve some requests first (`value-model serve`).")
    joined = attribute(slates, feedback)
    rows = training_rows(joined.slates, joined.labels, names=logged_names(joined.slates))
    pq.write_table(rows, out, compression="zstd")
    print_counts(joined.counts)
    print(f"wrote {out}: {len(rows):,} rows of {len(joined.slates):,} slates")


@dataclass(frozen=True)
class LoggedNames:
    """The heads and the numeric features that slates of a log hold, in the order of their columns."""

    heads: tuple[str, ...]
    features: tuple[str, ...]


def logged_names(slates: pa.Table) -> LoggedNames:
    return LoggedNames(tuple(sorted(names(slates, "predictions"))), tuple(sorted(names(slates, "numeric"))))


def training_rows(slates: pa.Table, labels: pa.Table, *, names: LoggedNames) -> pa.Table:
    """One table of N rows: the request's columns, the item's, features and predictions as served, and the labels."""
    request = request_of_rows(slates)
    columns = {name: slates[name].combine_chunks().take(pa.array(request)) for name in REQUEST_COLUMNS}
    columns |= {field.name: flat(slates, field.name) for field in ITEM_FIELDS if pa.types.is_list(field.type)}
    columns |= {f"predicted_{head}": pa.array(predictions(slates, head)) for head in names.heads}
    columns |= {f"feature_{name}": _by_row(slates, name, request) for name in names.features}
    return pa.table(columns | {name: labels[name] for name in labels.column_names})


def _by_row(slates: pa.Table, name: str, request: np.ndarray) -> pa.Array:
    """float32 [N]: a request's one value for each of its items, or theirs; NaN where it did not log `name`."""
    lists = numeric_features(slates, name)
    within = np.arange(len(request)) - item_offsets(slates)[request]
    length = lists.lengths[request]
    place = lists.offsets[request] + np.where(length > 1, within, 0)
    values = np.append(np.asarray(lists.values, np.float32), np.float32(np.nan))
    return pa.array(values[np.where(length > 0, place, -1)])
