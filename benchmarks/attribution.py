"""How long does it take to label a million impressions, and does a pandas merge take longer for the same labels?

Both start from the Arrow tables of slates and feedback and give labels in the order of the slates' items.
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.record import Measure, record
from marketplace.attribution import AttributionWindows, attribute
from marketplace.simulator import SimulatorConfig, simulate
from marketplace.slate_columns import flat, request_of_rows, shown

SEED = 0
NAMES = {"impression": "seen", "click": "click", "cart": "cart", "order": "order", "return": "returned"}


def by_pandas(slates: pa.Table, feedback: pa.Table) -> pd.DataFrame:
    """The same join as one would write it in a notebook; clean data, so no counts."""
    request = request_of_rows(slates)
    rows = pd.DataFrame({"row": np.arange(len(request)), "item_id": flat(slates, "item_id").to_pandas().astype(str)})
    rows["request_id"] = slates["request_id"].to_pandas().to_numpy()[request]
    rows["shown_at"] = slates["time"].to_pandas().take(request).array
    events = feedback.to_pandas().drop_duplicates("feedback_id").dropna(subset="request_id")
    events["item_id"] = events["item_id"].astype(str)
    joined = rows[shown(slates)].merge(events, on=["request_id", "item_id"])
    window = dict(zip(NAMES, pd.to_timedelta(AttributionWindows().microseconds(), unit="us"), strict=True))
    age = joined["time"] - joined["shown_at"]
    joined = joined[(age >= pd.Timedelta(0)) & (age < joined["event"].astype(str).map(window))]
    labels = pd.DataFrame(False, index=rows["row"], columns=list(NAMES.values()))
    for event, name in NAMES.items():
        labels.loc[joined.loc[joined["event"] == event, "row"].unique(), name] = True
    labels["click"] |= labels["cart"] | labels["order"]
    labels["seen"] |= labels["click"]
    labels["returned"] &= labels["order"]
    orders = joined[joined["event"] == "order"].groupby("row")["amount"].sum()
    return labels.assign(order_value=orders.reindex(labels.index).fillna(0.0))


def main() -> None:
    data = simulate(SimulatorConfig.large(), np.random.default_rng(SEED)).dataset
    start = time.perf_counter()
    ours = attribute(data.slates, data.feedback)
    middle = time.perf_counter()
    theirs = by_pandas(data.slates, data.feedback)
    end = time.perf_counter()
    labels = ours.labels.to_pandas()
    differ = sum(int((~np.isclose(labels[name].astype(float), theirs[name].astype(float))).sum()) for name in theirs)
    measures = [
        Measure("impressions labelled", len(labels), "impressions", ">= 1000000"),
        Measure("feedback events joined", ours.counts.events, "events"),
        Measure("seconds, attribution", middle - start, "s", "<= 5"),
        Measure("seconds, pandas merge", end - middle, "s"),
        Measure("labels in which the two differ", differ, "labels", "<= 0"),
    ]
    record("attribution", measures, data="the simulated market, size large", seed=SEED)


if __name__ == "__main__":
    main()
