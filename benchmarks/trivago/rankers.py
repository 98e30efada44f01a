"""The MMoE, LightGBM and their pool, fitted on the same lists and measured on the same test requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.record import Measure
from benchmarks.trivago.lists import Lists
from evaluation.compare import Comparison, compare_rankers
from jobs.config import RECORDED
from jobs.train_ranker import chosen, seen_places
from marketplace.heads import learned_heads
from value_model.rankers.calibration import fit_calibration
from value_model.rankers.config import NetworkConfig, TrainingConfig, TreesConfig
from value_model.rankers.network_ranker import NetworkRanker
from value_model.rankers.opinion_pool import OpinionPool, fit_weights
from value_model.rankers.ranker import Ranker, RankingData
from value_model.rankers.training import fit
from value_model.rankers.trees import Trees

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
    mmoe = fitted_mmoe(lists, network=network, training=training, seed=seed)
    return calibrated(
        lambda data: mmoe.predict(data.inputs, position=data.position if shown else None), lists.validation
    )


def fitted_mmoe(lists: Lists, *, network: NetworkConfig, training: TrainingConfig, seed: int) -> NetworkRanker:
    rng, heads = np.random.default_rng(seed), learned_heads(lists.train.labels)
    mmoe = NetworkRanker(lists.encoder.spec, lists.encoder.sizes, config=network, heads=heads, rng=rng)
    fit(mmoe, lists.train, lists.validation, config=training, rng=rng)
    return mmoe


def as_served(
    lists: Lists, mmoe: NetworkRanker, trees: Trees, *, seed: int
) -> tuple[str, dict[str, Mapping[str, np.ndarray]]]:
    """(The name of the ranker that a run would serve, the calibrated heads of each of its rankers on the test rows)."""
    later = lists.validation
    members: dict[str, NetworkRanker | Trees] = {"mmoe": mmoe, "lightgbm": trees}
    opinions = {name: member.predict(later.inputs) for name, member in members.items()}
    requests = len(later.inputs.user_codes)
    seen = seen_places(opinions, later, np.full(requests, "search"), gains=RECORDED)
    how = {"examination": seen, "shopper": np.arange(requests), "gains": RECORDED}
    choice = chosen(opinions, later, calibrate=fit_calibration, **how, rng=np.random.default_rng(seed))
    print(choice)
    pool = OpinionPool(members, weights=fit_weights(opinions, later, examination=seen))
    rankers: dict[str, Ranker] = {**members, "pool": pool}
    heads = {name: calibrated(lambda data, r=r: r.predict(data.inputs), later) for name, r in rankers.items()}
    return choice.served, {name: predict(lists.test) for name, predict in heads.items()}


def tree_predictions(lists: Lists, trees: Trees) -> Mapping[str, np.ndarray]:
    """The twin's of the test rows; its ctcvr is a booster of its own, the stronger reference."""
    order = trees.score(lists.test.inputs, "ctcvr")
    return calibrated(lambda data: trees.predict(data.inputs), lists.validation)(lists.test) | {"ctcvr": order}


def fitted_trees(lists: Lists) -> Trees:
    return Trees.fit(lists.train, spec=lists.encoder.spec, config=TreesConfig(products=True))


def calibrated(heads: Heads, later: RankingData) -> Heads:
    """`heads` as they have to be read in view of what happened `later`."""
    calibration = fit_calibration(heads(later), later)
    return lambda data: calibration(heads(data), data.inputs)


def compare(lists: Lists, models: Mapping[str, Mapping[str, np.ndarray]], *, seed: int) -> Comparison:
    """Rankers on the test requests, LightGBM among them, with intervals over requests."""
    rng = np.random.default_rng(seed)
    return compare_rankers(models, lists.test.labels, lists.offsets, baseline="LightGBM", rng=rng)


def measures(comparison: Comparison, bars: Sequence[Bar], *, prefix: str) -> list[Measure]:
    """The MMoE against its bars, the others beside it."""
    rows = []
    for bar in bars:
        for model in comparison.metrics:
            estimate = comparison.metrics[model][bar.metric]
            name = f"{prefix}{bar.name}, {model}"
            limit = bar.bar if model == "MMoE" else None
            rows.append(Measure(name, estimate.value, "", limit, (estimate.low, estimate.high)))
    return rows


def served_measures(comparison: Comparison, served: str, bars: Sequence[Bar], *, prefix: str) -> list[Measure]:
    """The served ranker against bars of its own, and against the best single ranker of the run."""
    rows = []
    for bar in bars:
        figures = {model: metrics[bar.metric] for model, metrics in comparison.metrics.items()}
        one, best = figures[served], max(figures[model].value for model in ("MMoE", "LightGBM"))
        rows.append(Measure(f"{prefix}{bar.name}, served: {served}", one.value, "", bar.bar, (one.low, one.high)))
        rows.append(Measure(f"{prefix}{bar.name}, served - best single", one.value - best, "", ">= 0"))
    return rows
