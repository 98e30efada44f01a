"""trivago's lists as ranking data: standard features, and those that compare a list with earlier lists.

Split by time: the last 20 % test; the last 15 % of the rest stop the training and fit the calibrators.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.record import skip
from features.backfill import backfill
from features.definitions import standard_spec
from features.encoder import Encoder
from features.spec import FeatureFrame, FeatureSpec, Group, count, number
from jobs.data import data_root
from marketplace.attribution import attribute
from marketplace.dataset import Dataset
from marketplace.datasets.trivago import Protocol, read_trivago
from marketplace.slate_columns import flat, to_numpy
from marketplace.splits import microseconds, split
from value_model.rankers.batches import take
from value_model.rankers.ranker import Labels, RankingData

CONTEXT = ("city", "country", "platform", "device", "sort", "opened_by")
SECOND = 1_000_000
EXTRA = (
    count(Group.USER, "step", "actions in the session so far"),
    count(Group.USER, "session_seconds", "since the session's first list"),
    count(Group.USER, "lists_before", "lists seen in the session so far"),
    count(Group.USER, "filters", "filters that are set"),
    number(Group.USER, "list_length", "items in the list"),
    number(Group.USER, "list_price", "mean log price of the list"),
    number(Group.USER, "list_spread", "deviation of log price in the list"),
    number(Group.CROSS, "price_to_least", "log of price over the list's lowest"),
    number(Group.CROSS, "position_before", "where the item stood in the session's previous list with it"),
    number(Group.CROSS, "position_elsewhere", "mean position in all earlier lists, drawn towards 13"),
)
SHOWN = (
    number(Group.CROSS, "position", "position shown"),
    number(Group.CROSS, "position_to_last", "places below the item touched last, where it is in the list"),
)


@dataclass(frozen=True)
class Lists:
    """Ranking data of the three periods, the test requests' row offsets, and what encodes them."""

    train: RankingData
    validation: RankingData
    test: RankingData
    offsets: np.ndarray
    encoder: Encoder


def lists(protocol: Protocol, *, benchmark: str, shown: bool) -> Lists:
    """Read, backfill, label, split and encode; `shown` adds the position to the inputs. Skips without the data."""
    path = data_root() / "trivago" / "trivago_val_100k.parquet"
    if not Path(path).exists():
        skip(benchmark, f"{path} is absent; set VALUE_MODEL_DATA to the folder of the data sets.")
    dataset = read_trivago(path, protocol=protocol)
    frame = with_lists(frame_of(dataset), dataset, shown=shown)
    outer = split(dataset.slates, test_share=0.2, of="requests" if protocol == "as_served" else "impressions")
    inner = split(dataset.slates.filter(pa.array(outer.train)), test_share=0.15)
    period = np.full(len(dataset.slates), 2)
    period[outer.train] = np.where(inner.train, 0, 1)
    encoder = Encoder.fit(frame, requests=period == 0, min_count=20)
    data = ranking_data(dataset, frame, encoder)
    parts = [take(data, np.flatnonzero(period == p), offsets=frame.offsets) for p in range(3)]
    lengths = np.diff(frame.offsets)[period == 2]
    return Lists(*parts, offsets=np.append(0, np.cumsum(lengths)), encoder=encoder)


def frame_of(dataset: Dataset) -> FeatureFrame:
    spec = standard_spec(context=CONTEXT, text=False, against_list=True)
    return backfill(dataset, dataset.slates, spec=spec)


def ranking_data(dataset: Dataset, frame: FeatureFrame, encoder: Encoder) -> RankingData:
    label = attribute(dataset.slates, dataset.feedback).labels
    click, order, value = (to_numpy(label[name]).astype(np.float32) for name in ("click", "order", "order_value"))
    position = to_numpy(flat(dataset.slates, "position")).astype(np.int32)
    labels = Labels(order=order, order_value=value, click=click)
    return RankingData(encoder.encode(frame), labels, position=position, weight=np.ones_like(click))


def with_lists(frame: FeatureFrame, dataset: Dataset, *, shown: bool) -> FeatureFrame:
    """`frame` with EXTRA (and SHOWN) features; everything but these comes from strictly earlier lists."""
    rows, requests = rows_of(frame, dataset), requests_of(dataset)
    log_price = np.log(rows["price"])
    by_list = log_price.groupby(rows["request"])
    earlier = rows.groupby("item")["position"]
    seen, total = earlier.cumcount(), earlier.cumsum() - rows["position"]
    columns = {
        **{name: requests[name] for name in ("step", "session_seconds", "lists_before", "filters")},
        "list_length": by_list.size(),
        "list_price": by_list.mean(),
        "list_spread": by_list.std(ddof=0),
        "price_to_least": log_price - by_list.transform("min"),
        "position_before": rows.groupby(["session", "item"])["position"].shift(),
        "position_elsewhere": (total + 13) / (seen + 1),
        "position": rows["position"],
        "position_to_last": rows["position"] - last_position(frame, rows),
    }
    added = (*EXTRA, *SHOWN) if shown else EXTRA
    arrays = {feature.name: pa.array(columns[feature.name].to_numpy(np.float32)) for feature in added}
    spec = FeatureSpec((*frame.spec.features, *added))
    return replace(frame, spec=spec, columns={**frame.columns, **arrays})


def rows_of(frame: FeatureFrame, dataset: Dataset) -> pd.DataFrame:
    """One row an item shown, in time order (slates are sorted by time)."""
    slates = dataset.slates
    session = pd.factorize(slates["session_id"].to_pandas())[0]
    item = pd.factorize(flat(slates, "item_id").to_pandas())[0]
    columns = {"request": frame.request, "session": session[frame.request], "item": item}
    columns |= {name: to_numpy(flat(slates, name)).astype(np.float64) for name in ("price", "position")}
    return pd.DataFrame(columns)


def requests_of(dataset: Dataset) -> pd.DataFrame:
    """One row a slate: counts of the session so far."""
    slates = dataset.slates
    context = [dict(row) for row in slates["context"].to_pylist()]
    session = slates["session_id"].to_pandas().astype(str)
    time = pd.Series(microseconds(slates["time"]) // SECOND)
    filters = pd.Series([row["filters"] for row in context])
    return pd.DataFrame(
        {
            "step": pd.Series([int(row["step"]) for row in context]),
            "session_seconds": time - time.groupby(session).transform("min"),
            "lists_before": session.groupby(session).cumcount(),
            "filters": filters.str.count(r"\|") + (filters != ""),
        }
    )


def last_position(frame: FeatureFrame, rows: pd.DataFrame) -> pd.Series:
    """The position of the item that the user touched last, NaN where the list does not hold it."""
    last = np.asarray(frame.columns["is_last_touched"]) == 1
    return rows["position"].where(last).groupby(rows["request"]).transform("max")
