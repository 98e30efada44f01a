"""A stack: a network that reads what boosted trees say beside its other inputs.

    network(inputs, scores)        scores [N, S]: log odds of an event, log of an amount, of each library and head

It learns from scores of rows that the trees did not learn from: the training period is cut into parts by time, and the
rows of a part are scored by trees grown of the parts before it. Those of the first part have no score (NaN, missing),
nor have those before which a head has no rows. Whatever comes later is scored by the trees that are served.
Sources: Wolpert 1992, Stacked Generalization; Tashman 2000, Out-of-sample Tests of Forecasting Accuracy, for parts by
time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from features.spec import FeatureSpec, Group, ModelInputs, number
from marketplace.heads import Head, learned_heads
from value_model.rankers.batches import request_offsets, take
from value_model.rankers.config import TreesConfig
from value_model.rankers.forest_tables import forest_tables
from value_model.rankers.network_ranker import NetworkRanker
from value_model.rankers.ranker import Predictions, RankingData
from value_model.rankers.trees import Trees

LIBRARIES = "libraries.json"


class Stack:
    """Follows `Ranker`; `trees` by library, `network` of `scored_spec`."""

    def __init__(self, network: NetworkRanker, trees: Mapping[str, Trees]) -> None:
        self.network, self.trees = network, dict(trees)

    @property
    def heads(self) -> tuple[str, ...]:
        return self.network.heads

    @property
    def spec(self) -> FeatureSpec:
        return next(iter(self.trees.values())).spec

    def predict(self, inputs: ModelInputs, *, position: np.ndarray | None = None) -> Predictions:
        """float64 [N] a head, learned and composed; position None = neutral, as in serving."""
        return self.network.predict(with_scores(inputs, tree_scores(self.trees, inputs)), position=position)

    def save(self, folder: Path) -> None:
        """Write libraries.json, the network and the trees of each library in folders of their own."""
        self.network.save(folder / "network")
        for library, trees in self.trees.items():
            trees.save(folder / library)
        (folder / LIBRARIES).write_text(json.dumps(list(self.trees)) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Stack:
        """The stack that `save` wrote."""
        trees = {library: Trees.load(folder / library) for library in json.loads((folder / LIBRARIES).read_text())}
        return cls(NetworkRanker.load(folder / "network"), trees)


def scored_spec(spec: FeatureSpec, heads: Sequence[Head], libraries: Sequence[str]) -> FeatureSpec:
    """The features of `spec`, and after them the scores."""
    scores = [
        number(Group.CROSS, f"{library}_{head.name}", f"what {library}'s trees say of {head.name}")
        for library in libraries
        for head in heads
    ]
    return FeatureSpec((*spec.features, *scores))


def with_scores(inputs: ModelInputs, scores: np.ndarray) -> ModelInputs:
    """The inputs with scores [N, S] as the last of their cross numbers."""
    return replace(inputs, cross_numbers=np.concatenate([inputs.cross_numbers, scores.astype(np.float32)], axis=1))


def tree_scores(trees: Mapping[str, Trees], inputs: ModelInputs) -> np.ndarray:
    """float64 [N, S]: the sum of leaves, of each library and head, to the bit what is served (`forest_tables`)."""
    forests = [(some.forest(head), some.places) for some in trees.values() for head in some.heads]
    return np.column_stack([forest_tables(forest, places).score(vars(inputs)) for forest, places in forests])


def forward_scores(
    data: RankingData, *, time: np.ndarray, spec: FeatureSpec, configs: Mapping[str, TreesConfig], parts: int
) -> np.ndarray:
    """float64 [N, S]: what trees of earlier parts alone say of each row; NaN where there are none.

    `time` [R], of the requests; those of one time are in one part. `configs`: the settings of each library.
    """
    heads = learned_heads(data.labels)
    scores = np.full((len(data.position), len(configs) * len(heads)), np.nan)
    offsets = request_offsets(data.inputs.request, len(time))
    cuts = np.sort(time)[np.arange(1, parts) * len(time) // parts]
    part = np.searchsorted(cuts, time, side="right")
    for turn in np.unique(part[part > 0]):
        before = take(data, np.flatnonzero(part < turn), offsets=offsets)
        if not all((head.training_rows(before.labels) & (before.weight > 0)).any() for head in heads):
            continue
        trees = {library: Trees.fit(before, spec=spec, config=config) for library, config in configs.items()}
        rows = take(data, np.flatnonzero(part == turn), offsets=offsets).inputs
        scores[part[data.inputs.request] == turn] = tree_scores(trees, rows)
    return scores
