"""The MMoE and its LightGBM twin, fitted on the same lists and measured on the same test requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.record import Measure
from benchmarks.trivago.lists import Lists
from evaluation.compare import Comparison, compare_rankers
from marketplace.heads import learned_heads
from value_model.rankers.calibration import fit_calibration
from value_model.rankers.config import NetworkConfig, TrainingConfig, TreesConfig
from value_model.rankers.lightgbm import Trees
from value_model.rankers.mmoe import MMoE
from value_model.rankers.ranker import RankingData
from value_model.rankers.training import fit

# Chosen on the validation period: 170 k rows want small tables, dropout and decay.
NETWORK = NetworkConfig(embedding=4, bins=16, experts=4, expert_units=(64, 32), dropout=0.2, positions=25)
TRAINING = TrainingConfig(learning_rate=1e-3, decay=0.1, batch_requests=64, epochs=30, patience=4)
Heads = Callable[[RankingData], Mapping[str, np.ndarray]]  # predictions of rows, [N] a head


@dataclass(frozen=True)
class Bar:
    """One metric of `evaluation.compare` by its printed name, and the bar of the MMoE."""

    metric: str
    name: str
    bar: str | None


def mmoe_heads(lists: Lists, *, shown: bool, network: NetworkConfig, training: TrainingConfig, seed: int) -> Heads:
    """A network stopped and calibrated on the validation period."""
    rng, heads = np.random.default_rng(seed), learned_heads(lists.train.labels)
    mmoe = MMoE(lists.encoder.spec, lists.encoder.sizes, config=network, heads=heads, rng=rng)
    fit(mmoe, lists.train, lists.validation, config=training, rng=rng)
    return calibrated(
        lambda data: mmoe.predict(data.inputs, position=data.position if shown else None), lists.validation
    )


def tree_predictions(lists: Lists) -> Mapping[str, np.ndarray]:
    """The twin's of the test rows; its ctcvr is a booster of its own, the stronger reference."""
    trees = fitted_trees(lists)
    order = trees.score(lists.test.inputs, "ctcvr")
    return calibrated(lambda data: trees.predict(data.inputs), lists.validation)(lists.test) | {"ctcvr": order}


def fitted_trees(lists: Lists) -> Trees:
    return Trees.fit(lists.train, spec=lists.encoder.spec, config=TreesConfig(products=True))


def calibrated(heads: Heads, later: RankingData) -> Heads:
    """`heads` as they have to be read in view of what happened `later`."""
    calibration = fit_calibration(heads(later), later)
    return lambda data: calibration(heads(data), data.inputs)


def compare(lists: Lists, mmoe: Mapping[str, np.ndarray], *, seed: int) -> Comparison:
    """Both rankers on the test requests, with intervals over requests."""
    models = {"MMoE": mmoe, "LightGBM": tree_predictions(lists)}
    rng = np.random.default_rng(seed)
    return compare_rankers(models, lists.test.labels, lists.offsets, baseline="LightGBM", rng=rng)


def measures(comparison: Comparison, bars: Sequence[Bar], *, prefix: str) -> list[Measure]:
    """The MMoE against its bars, its twin beside it."""
    rows = []
    for bar in bars:
        for model in ("MMoE", "LightGBM"):
            estimate = comparison.metrics[model][bar.metric]
            name = f"{prefix}{bar.name}, {model}"
            limit = bar.bar if model == "MMoE" else None
            rows.append(Measure(name, estimate.value, "", limit, (estimate.low, estimate.high)))
    return rows
