"""A small simulated market with untrained models whose weights are random: the real path, without the training."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cache

import numpy as np
import pyarrow as pa

from features.backfill import backfill
from features.definitions import standard_spec
from features.encoder import Encoder
from features.mapped import mapped_features
from features.spec import ModelInputs
from features.store import MemoryStore
from marketplace.dataset import Dataset
from marketplace.heads import learned_heads
from marketplace.schema import SLATE
from marketplace.simulator import SimulatorConfig, simulate
from marketplace.slate_columns import RequestLists, item_offsets, map_of_lists
from retrieval.build import build_index
from retrieval.config import RetrievalConfig
from retrieval.pairs import item_inputs
from retrieval.retriever import Quota
from retrieval.sources.run_sources import RunSources
from retrieval.surfaces import SurfaceRecipes
from retrieval.two_tower import TwoTower
from serving.config import ServingConfig
from serving.export_bundle import TrainedParts
from value_model.formula import default_policy
from value_model.rankers.calibration import Calibration, Calibrator
from value_model.rankers.config import NetworkConfig
from value_model.rankers.network_ranker import NetworkRanker

NETWORK = NetworkConfig(
    embedding=4, bins=4, experts=2, expert_units=(16, 8), tower_units=8, sequence="din", sequence_units=8
)
TOWERS = RetrievalConfig(table_width=4, dimensions=8, hidden=(16,))


@cache
def trained_market() -> TrainedParts:
    rng = np.random.default_rng(3)
    small = replace(SimulatorConfig.small(), requests=400, users=150, items=400, merchants=40)
    dataset = with_mapped_features(simulate(small, rng).dataset)
    spec = mapped_features(dataset).added_to(standard_spec(product_pages=True, sequence=True))
    frame = backfill(dataset, dataset.slates.slice(0, 300), spec=spec)
    encoder = Encoder.fit(frame)
    inputs = encoder.encode(frame)
    until = dataset.slates["time"][-1].as_py() + timedelta(seconds=1)
    store = MemoryStore.of(dataset, spec=spec, until=until)
    heads = learned_heads(("click", "order", "order_value"))
    ranker = NetworkRanker(spec, encoder.sizes, config=NETWORK, heads=heads, rng=rng)
    _randomise(ranker, rng)
    _adapt(ranker, inputs)
    towers = TwoTower(spec, encoder.sizes, config=TOWERS, rng=rng)
    items = item_inputs(store.catalogue, encoder)
    towers.item_tower.encoder.numbers.adapt(items.numbers)
    queries = towers.embed_queries(inputs.user_codes[:50], inputs.user_lists[:50], inputs.user_numbers[:50])
    index = build_index("exact", towers.embed_items(items), queries=queries)
    sources = RunSources(dataset, segment=dataset.segment, index=index).advance(int(until.timestamp() * 1e6)).sources
    return TrainedParts(
        dataset=dataset,
        store=store,
        known_until=until,
        encoder=encoder,
        ranker=ranker,
        calibration=Calibration({"ctr": Calibrator("platt", slope=0.9, intercept=-0.5)}),
        policy=default_policy(currency=dataset.currency),
        sources=sources,
        recipes=SurfaceRecipes.alike({source.name: Quota(100, 2) for source in sources}),
        towers=towers,
        index=index,
        config=ServingConfig(candidates=60),
        metrics={"order AUC": 0.5},
    )


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


def _adapt(ranker: NetworkRanker, inputs: ModelInputs) -> None:
    """Number transforms from the inputs, and log order value around 50."""
    ranker.network.user.numbers.adapt(inputs.user_numbers)
    ranker.network.item.numbers.adapt(inputs.item_numbers)
    ranker.network.cross.numbers.adapt(inputs.cross_numbers)
    ranker.network.log_value.assign([[np.log(50.0), 0.5, 1.0, 8.0]])


def _randomise(ranker: NetworkRanker, rng: np.random.Generator) -> None:
    """What starts at zero gets a small random value, so that every head tells items apart."""
    for variable in ranker.network.trainable_variables:
        if not variable.numpy().any():
            variable.assign(rng.normal(0, 0.1, variable.shape).astype(np.float32))
