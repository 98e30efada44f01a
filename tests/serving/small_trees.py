"""Small trees on the inputs of `small_ranker`, every kind of input among their splits."""

from __future__ import annotations

import numpy as np
from small_ranker import SPEC, small_ranker

from features.spec import ModelInputs
from serving.parity import probe_inputs
from value_model.rankers.config import TreesConfig
from value_model.rankers.ranker import RankingData
from value_model.rankers.trees import Trees

CONFIG = TreesConfig(trees=30, leaves=15, learning_rate=0.2, min_rows=5)


def several_requests(*, requests: int, rows: int, seed: int) -> ModelInputs:
    """Drawn inputs of several requests; tame numbers, some missing, so that a booster can split them."""
    rng, vocabulary = np.random.default_rng(seed), small_ranker()
    drawn = [probe_inputs(vocabulary, rows=rows, rng=rng) for _ in range(requests)]
    columns = {}
    for name in ModelInputs.__annotations__:
        columns[name] = np.concatenate([getattr(one, name) for one in drawn])
        if name.endswith("_numbers"):
            columns[name] = np.clip(columns[name], -9, 9)
    return ModelInputs(**columns | {"request": np.repeat(np.arange(requests, dtype=np.int32), rows)})


def small_trees(config: TreesConfig = CONFIG) -> Trees:
    rng = np.random.default_rng(7)
    inputs = several_requests(requests=60, rows=50, seed=8)
    request = inputs.request
    signal = np.nan_to_num(inputs.cross_numbers).sum(axis=1) / 4 + (inputs.item_codes[:, 0] % 3) - 1
    signal += inputs.user_codes[request, 0] / 3 - np.nan_to_num(inputs.item_numbers[:, 0], nan=2.0) / 3
    click = rng.random(len(signal)) < 1 / (1 + np.exp(-signal))
    order = click & (rng.random(len(signal)) < 1 / (1 + np.exp(signal - 1)))
    amount = np.exp(rng.normal(3, 0.5, len(signal)) + inputs.cross_codes[:, 0] / 5)
    labels = {"click": click, "order": order, "order_value": np.where(order, amount, 0)}
    ones = np.ones(len(signal), np.float32)
    labels = {name: label.astype(np.float32) for name, label in labels.items()}
    data = RankingData(inputs, labels, position=np.zeros(len(signal), np.int32), weight=ones)
    return Trees.fit(data, spec=SPEC, config=config)
