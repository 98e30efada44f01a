"""A bundle of realistic size for the serving benchmarks: 100 k items, untrained models, the real export.

python -m benchmarks.serving_bundle FOLDER SEED     also writes whole.onnx, the unsplit ranker, beside FOLDER
"""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from features.backfill import backfill
from features.definitions import standard_spec
from features.encoder import Encoder
from features.interactions import interactions
from features.store import MemoryStore
from marketplace.dataset import Dataset
from marketplace.heads import learned_heads
from marketplace.simulator import SimulatorConfig, simulate
from retrieval.build import build_index
from retrieval.config import DEFAULTS
from retrieval.pairs import item_inputs
from retrieval.retriever import Quota
from retrieval.sources.lexical_source import LexicalSource
from retrieval.sources.popularity import Popularity
from retrieval.sources.two_tower_source import TwoTowerSource
from retrieval.sources.user_history import UserHistory
from retrieval.surfaces import SurfaceRecipes
from retrieval.two_tower import TwoTower
from serving.export_bundle import TrainedParts, export_bundle
from serving.export_onnx import write_graph
from value_model.formula import default_policy
from value_model.rankers.calibration import Calibration, Calibrator
from value_model.rankers.config import NetworkConfig
from value_model.rankers.graphs import Graphs
from value_model.rankers.network_ranker import NetworkRanker

ITEMS = 100_000
MARKET = SimulatorConfig(requests=6_000, users=4_000, items=ITEMS, merchants=2_000)


def export_untrained(folder: Path, *, seed: int, items: int = ITEMS) -> TrainedParts:
    """Write the bundle: every part of the size that it has when trained, weights random."""
    rng = np.random.default_rng(seed)
    dataset = simulate(replace(MARKET, items=items), rng).dataset
    until = dataset.slates["time"][-1].as_py() + timedelta(seconds=1)
    spec = standard_spec()
    encoder, inputs = _encoder(dataset, spec)
    store = MemoryStore.of(dataset, spec=spec, until=until)
    heads = learned_heads(("click", "order", "order_value"))
    ranker = NetworkRanker(spec, encoder.sizes, config=NetworkConfig(), heads=heads, rng=rng)
    ranker.network.user.numbers.adapt(inputs.user_numbers)
    ranker.network.item.numbers.adapt(inputs.item_numbers)
    ranker.network.cross.numbers.adapt(inputs.cross_numbers)
    towers = TwoTower(spec, encoder.sizes, config=DEFAULTS, rng=rng)
    whole = item_inputs(store.catalogue, encoder)
    towers.query_tower.encoder.numbers.adapt(inputs.user_numbers)
    towers.item_tower.encoder.numbers.adapt(whole.numbers)
    queries = towers.embed_queries(inputs.user_codes[:256], inputs.user_lists[:256], inputs.user_numbers[:256])
    index = build_index("scann", towers.embed_items(whole), queries=queries)
    counted = [Popularity(items), UserHistory(items)]
    micros = int(until.timestamp() * 1e6)
    events = interactions(dataset.feedback, item_ids=dataset.items["item_id"].combine_chunks(), until=micros)
    for source in counted:
        source.update(events)
    points = np.linspace(-6, 2, 60)
    isotonic = Calibrator("isotonic", x=tuple(points), y=tuple(1 / (1 + np.exp(-points))))
    trained = TrainedParts(
        dataset=dataset,
        store=store,
        known_until=until,
        encoder=encoder,
        ranker=ranker,
        calibration=Calibration({"ctr": isotonic, "cvr": isotonic, "order_value": Calibrator("scale", slope=1.1)}),
        policy=default_policy(currency=dataset.currency),
        sources=[TwoTowerSource(index), *counted, LexicalSource(store.catalogue.lexical_index)],
        recipes=SurfaceRecipes.alike(
            {
                "nearest": Quota(500, 300),
                "popularity": Quota(200, 20),
                "repeats": Quota(50, 10),
                "lexical": Quota(300, 200),
            }
        ),
        towers=towers,
        index=index,
    )
    export_bundle(trained, folder)
    return trained


def _encoder(dataset: Dataset, spec):  # type: ignore[no-untyped-def]
    """Vocabularies over the whole catalogue's size, as a market with a longer log would have them."""
    frame = backfill(dataset, dataset.slates, spec=spec)
    encoder = Encoder.fit(frame)
    every = {name: list(names) for name, names in encoder.vocabularies.items()}
    known = set(every["item"])
    every["item"] += [item for item in dataset.items["item_id"].to_pylist() if item not in known]
    encoder = Encoder(spec, {name: tuple(names) for name, names in every.items()})
    return encoder, encoder.encode(frame)


def main(folder: Path, seed: int) -> None:
    trained = export_untrained(folder, seed=seed)
    write_graph(Graphs(trained.ranker, trained.calibration).whole, path=folder.with_name("whole.onnx"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
