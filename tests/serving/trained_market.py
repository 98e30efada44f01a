"""The small market's models, whose weights are random: the real path, without the training."""

from __future__ import annotations

from functools import cache

import numpy as np
from market import simulated_market

from features.spec import ModelInputs
from marketplace.heads import learned_heads
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
    market, rng = simulated_market(), np.random.default_rng(4)
    dataset, encoder, inputs = market.dataset, market.encoder, market.inputs
    heads = learned_heads(("click", "order", "order_value"))
    ranker = NetworkRanker(market.spec, encoder.sizes, config=NETWORK, heads=heads, rng=rng)
    _randomise(ranker, rng)
    _adapt(ranker, inputs)
    towers = TwoTower(market.spec, encoder.sizes, config=TOWERS, rng=rng)
    items = item_inputs(market.store.catalogue, encoder)
    towers.item_tower.encoder.numbers.adapt(items.numbers)
    queries = towers.embed_queries(inputs.user_codes[:50], inputs.user_lists[:50], inputs.user_numbers[:50])
    index = build_index("exact", towers.embed_items(items), queries=queries)
    micros = int(market.known_until.timestamp() * 1e6)
    sources = RunSources(dataset, segment=dataset.segment, index=index).advance(micros).sources
    return TrainedParts(
        dataset=dataset,
        store=market.store,
        known_until=market.known_until,
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
