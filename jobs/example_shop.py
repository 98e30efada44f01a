"""Example shop: the home page of a simulated market as the four CSV files and the mapping of docs/own_data.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from marketplace.dataset import Dataset
from marketplace.keys import Column
from marketplace.simulator import SimulatorConfig, simulate
from marketplace.slate_columns import context, flat, request_of_rows

ZONE = "Asia/Riyadh"  # of the mapping
REQUESTS = 6_000  # on all surfaces; the home page has a quarter of them
WORDS = {"impression": "view", "order": "purchase"}  # of the mapping's [feedback.events]


def example_shop(folder: Path, *, seed: int) -> None:
    """Write the files into a new folder; ValueError for one that holds anything."""
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    config = replace(SimulatorConfig.small(), requests=REQUESTS)
    for name, columns in _tables(simulate(config, np.random.default_rng(seed)).dataset):
        pacsv.write_csv(pa.table({key: _plain(values) for key, values in columns.items()}), folder / name)
    mapping = folder / "mapping.toml"
    mapping.write_bytes(files("jobs").joinpath("example_shop.toml").read_bytes())
    print(f"wrote {mapping}; now: value-model check-data {mapping}")


def _tables(market: Dataset) -> Iterator[tuple[str, Mapping[str, Column]]]:
    """Each file's name and columns."""
    items, merchants = market.items, market.merchants
    products = {"sku": "item_id", "seller": "merchant_id", "price": "price", "title": "name", "category": "category"}
    yield "products.csv", {theirs: items[ours] for theirs, ours in products.items()}
    yield "sellers.csv", {"seller": merchants["merchant_id"], "commission": merchants["commission_rate"]}
    slates = market.slates.filter(pc.equal(market.slates["surface"].cast(pa.string()), "home"))
    request = pa.array(request_of_rows(slates))
    yield (
        "impressions.csv",
        {
            "request": slates["request_id"].take(request),
            "shown_at": _local(slates["time"]).take(request),
            "customer": slates["user_id"].take(request),
            "sku": flat(slates, "item_id"),
            "slot": flat(slates, "position"),
            "price": flat(slates, "price"),
            "country": context(slates, "country").take(request),
        },
    )
    events = market.feedback.filter(pc.is_in(market.feedback["request_id"], slates["request_id"].combine_chunks()))
    kinds = events["event"].cast(pa.string()).combine_chunks().dictionary_encode()
    words = pa.array([WORDS.get(kind, kind) for kind in kinds.dictionary.to_pylist()])
    yield (
        "events.csv",
        {
            "event_id": events["feedback_id"],
            "request": events["request_id"],
            "kind": words.take(kinds.indices),
            "at": _local(events["time"]),
            "customer": events["user_id"],
            "sku": events["item_id"],
            "total": events["amount"],
        },
    )


def _local(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whole seconds on the clocks of ZONE."""
    seconds = pc.floor_temporal(times.cast(pa.timestamp("us", tz=ZONE)), unit="second")
    return pc.strftime(seconds.cast(pa.timestamp("s", tz=ZONE)), format="%Y-%m-%d %H:%M:%S")


def _plain(values: Column) -> Column:
    return values.cast(pa.string()) if pa.types.is_dictionary(values.type) else values
