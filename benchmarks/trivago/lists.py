"""trivago's lists as ranking data: the standard features of a list, and what this log alone knows of a request.

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
from marketplace.splits import split
from value_model.rankers.batches import take
from value_model.rankers.ranker import RankingData

CONTEXT = ("city", "country", "platform", "device", "sort", "opened_by")
# What the log of this data set alone knows of a request: entries of its context.
REQUEST = (
    count(Group.USER, "step", "actions in the session so far"),
    count(Group.USER, "filters", "filters that are set"),
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
    before_test: RankingData  # training and validation
    offsets: np.ndarray
    encoder: Encoder


def lists(
    protocol: Protocol, *, benchmark: str, shown: bool, sequence: bool = False, extra: tuple[str, ...] = ()
) -> Lists:
    """Read, backfill, label, split and encode; `shown` adds the position to the inputs. Skips without the data.

    `sequence` adds the columns of the history that sequence encoders read, `extra` features that a run names.
    """
    path = data_root() / "trivago" / "trivago_val_100k.parquet"
    if not Path(path).exists():
        skip(benchmark, f"{path} is absent; set VALUE_MODEL_DATA to the folder of the data sets.")
    dataset = read_trivago(path, protocol=protocol)
    frame = with_context(frame_of(dataset, sequence=sequence, extra=extra), dataset, shown=shown)
    outer = split(dataset.slates, test_share=0.2, of="requests" if protocol == "as_served" else "impressions")
    inner = split(dataset.slates.filter(pa.array(outer.train)), test_share=0.15)
    period = np.full(len(dataset.slates), 2)
    period[outer.train] = np.where(inner.train, 0, 1)
    encoder = Encoder.fit(frame, requests=period == 0, min_count=20)
    data = ranking_data(dataset, frame, encoder)
    rows = [*(np.flatnonzero(period == p) for p in range(3)), np.flatnonzero(period < 2)]
    parts = [take(data, requests, offsets=frame.offsets) for requests in rows]
    lengths = np.diff(frame.offsets)[period == 2]
    return Lists(*parts, offsets=np.append(0, np.cumsum(lengths)), encoder=encoder)


def frame_of(dataset: Dataset, *, sequence: bool = False, extra: tuple[str, ...] = ()) -> FeatureFrame:
    spec = standard_spec(context=CONTEXT, text=False, against_list=True, sequence=sequence, extra=extra)
    return backfill(dataset, dataset.slates, spec=spec)


def ranking_data(dataset: Dataset, frame: FeatureFrame, encoder: Encoder) -> RankingData:
    label = attribute(dataset.slates, dataset.feedback).labels
    click, order, value = (to_numpy(label[name]).astype(np.float32) for name in ("click", "order", "order_value"))
    position = to_numpy(flat(dataset.slates, "position")).astype(np.int32)
    labels = {"click": click, "order": order, "order_value": value}
    return RankingData(encoder.encode(frame), labels, position=position, weight=np.ones_like(click))


def with_context(frame: FeatureFrame, dataset: Dataset, *, shown: bool) -> FeatureFrame:
    """`frame` with REQUEST (and SHOWN) features."""
    context = [dict(row) for row in dataset.slates["context"].to_pylist()]
    filters = pd.Series([row["filters"] for row in context])
    columns = {
        "step": np.array([int(row["step"]) for row in context]),
        "filters": filters.str.count(r"\|") + (filters != ""),
    }
    if shown:
        position = pd.Series(to_numpy(flat(dataset.slates, "position")).astype(np.float64))
        columns |= {"position": position, "position_to_last": position - last_position(frame, position)}
    features = (*REQUEST, *SHOWN) if shown else REQUEST
    arrays = {feature.name: pa.array(np.asarray(columns[feature.name], np.float32)) for feature in features}
    spec = FeatureSpec((*frame.spec.features, *features))
    return replace(frame, spec=spec, columns={**frame.columns, **arrays})


def last_position(frame: FeatureFrame, position: pd.Series) -> pd.Series:
    """The position of the item that the user touched last, NaN where the list does not hold it."""
    last = np.asarray(frame.columns["is_last_touched"]) == 1
    return position.where(last).groupby(frame.request).transform("max")
