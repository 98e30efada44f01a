"""A small simulated market as a run reads it: catalogue, log, store and encoder; nothing is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache

import numpy as np
import pyarrow as pa

from features.backfill import backfill
from features.definitions import standard_spec
from features.encoder import Encoder
from features.mapped import mapped_features
from features.spec import FeatureSpec, ModelInputs
from features.store import MemoryStore
from marketplace.dataset import Dataset
from marketplace.schema import SLATE
from marketplace.simulator import SimulatorConfig, simulate
from marketplace.slate_columns import RequestLists, item_offsets, map_of_lists


@dataclass(frozen=True)
class Market:
    """`inputs` are those of its first 300 requests; `known_until` is the time of its store, past its last request."""

    dataset: Dataset
    spec: FeatureSpec
    store: MemoryStore
    known_until: datetime
    encoder: Encoder
    inputs: ModelInputs


@cache
def simulated_market() -> Market:
    small = replace(SimulatorConfig.small(), requests=400, users=150, items=400, merchants=40)
    dataset = with_mapped_features(simulate(small, np.random.default_rng(3)).dataset)
    spec = mapped_features(dataset).added_to(standard_spec(product_pages=True, sequence=True))
    frame = backfill(dataset, dataset.slates.slice(0, 300), spec=spec)
    encoder = Encoder.fit(frame)
    until = dataset.slates["time"][-1].as_py() + timedelta(seconds=1)
    store = MemoryStore.of(dataset, spec=spec, until=until)
    return Market(dataset, spec, store, until, encoder, encoder.encode(frame))


def with_mapped_features(dataset: Dataset) -> Dataset:
    """As if a mapping named a brand an item, `adults` a request, and `distance` and `room` a candidate."""
    rng, offsets = np.random.default_rng(5), item_offsets(dataset.slates)
    requests = len(offsets) - 1
    numeric = {
        "adults": RequestLists(np.arange(requests + 1), pa.array(rng.integers(1, 5, requests), pa.float32())),
        "distance": RequestLists(offsets, pa.array(rng.random(offsets[-1]), pa.float32())),
    }
    rooms = pa.array(rng.choice(["single", "double"], offsets[-1]), pa.string())
    slates = dataset.slates
    for name, columns, kind in (
        ("numeric", numeric, pa.float32()),
        ("categorical", {"room": RequestLists(offsets, rooms)}, pa.string()),
    ):
        cells = map_of_lists(columns, requests=requests, values=kind)
        slates = slates.set_column(slates.column_names.index(name), SLATE.field(name), cells)
    return replace(dataset, slates=slates, mapped_features=None)
