"""A run's rankers, fitted on the same lists and measured on the same test requests: MMoE, both tree libraries, pool.

Trees have the settings of `run.toml`. As in a run, the served ranker is chosen on the validation period, pool weights
and calibrators are fitted there, and the trees are then grown again of training and validation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.record import Measure
from benchmarks.trivago.lists import Lists
from evaluation.compare import Comparison, compare_rankers
from jobs.config import RECORDED
from jobs.run_file import read_run
from jobs.train_ranker import chosen, seen_places
from marketplace.heads import learned_heads
from value_model.rankers.calibration import fit_calibration
from value_model.rankers.config import NetworkConfig, TrainingConfig
from value_model.rankers.network_ranker import NetworkRanker
from value_model.rankers.opinion_pool import OpinionPool, fit_weights, pooled
from value_model.rankers.ranker import Predictions, Ranker, RankingData
from value_model.rankers.training import fit
from value_model.rankers.trees import Trees

# Chosen on the validation period: 170 k rows want small tables, dropout and decay.
NETWORK = NetworkConfig(embedding=4, bins=16, experts=4, expert_units=(64, 32), dropout=0.2, positions=25)
TRAINING = TrainingConfig(learning_rate=1e-3, decay=0.1, batch_requests=64, epochs=30, patience=4)
# cvr AUC on the validation period, position shown, all else alike: .657 without the loss on clicked rows, .706 with it.
AS_SERVED = replace(TRAINING, clicked_weight=0.1)
HIDDEN = replace(AS_SERVED, position_dropout=0.5)
MMOE, POOL = "MMoE", "pool"
TITLES = {"lightgbm": "LightGBM", "xgboost": "XGBoost"}
Heads = Callable[[RankingData], Mapping[str, np.ndarray]]  # predictions of rows, [N] a head


@dataclass(frozen=True)
class Bar:
    """One metric of `evaluation.compare` by its printed name, and the bar of the served ranker."""

    metric: str
    name: str
    bar: str | None = None


def unknown_heads(lists: Lists, *, seed: int) -> Heads:
    """The MMoE as it serves: a position is hidden from half the requests it learns from and from all it predicts."""
    mmoe = fitted_mmoe(lists, network=NETWORK, training=HIDDEN, seed=seed)
    return calibrated(lambda data: mmoe.predict(data.inputs), lists.validation)


def fitted_mmoe(lists: Lists, *, network: NetworkConfig, training: TrainingConfig, seed: int) -> NetworkRanker:
    """A network stopped on the validation period."""
    rng, heads = np.random.default_rng(seed), learned_heads(lists.train.labels)
    mmoe = NetworkRanker(lists.encoder.spec, lists.encoder.sizes, config=network, heads=heads, rng=rng)
    fit(mmoe, lists.train, lists.validation, config=training, rng=rng)
    return mmoe


def calibrated(heads: Heads, later: RankingData) -> Heads:
    """`heads` as they have to be read in view of what happened `later`."""
    calibration = fit_calibration(heads(later), later)
    return lambda data: calibration(heads(data), data.inputs)


def grown(data: RankingData, lists: Lists) -> dict[str, Trees]:
    """The trees of each library, by the settings of the run."""
    configs = read_run(Path(__file__).parent / "run.toml").trees.by_library
    return {TITLES[name]: Trees.fit(data, spec=lists.encoder.spec, config=config) for name, config in configs.items()}


def as_served(lists: Lists, mmoe: NetworkRanker, *, shown: bool, seed: int) -> tuple[str, dict[str, Predictions]]:
    """(The ranker that a run would serve, the calibrated heads of each of its rankers on the test rows).

    `shown`: positions are known, to predict what a log holds; else unknown, as in serving.
    """

    def predicted(ranker: Ranker, data: RankingData) -> Predictions:
        return ranker.predict(data.inputs, position=data.position if shown else None)

    later = lists.validation
    members: dict[str, NetworkRanker | Trees] = {MMOE: mmoe, **grown(lists.train, lists)}
    opinions = {name: predicted(member, later) for name, member in members.items()}
    requests = len(later.inputs.user_codes)
    seen = seen_places(opinions, later, np.full(requests, "search"), gains=RECORDED)
    how = {"examination": seen, "shopper": np.arange(requests), "gains": RECORDED}
    choice = chosen(opinions, later, calibrate=fit_calibration, **how, rng=np.random.default_rng(seed))
    print(choice)
    weights = fit_weights(opinions, later, examination=seen)
    opinions[POOL] = pooled(opinions, weights=weights)
    members |= grown(lists.before_test, lists)
    rankers: dict[str, Ranker] = {**members, POOL: OpinionPool(members, weights=weights)}
    heads = {}
    for name, ranker in rankers.items():
        calibration = fit_calibration(opinions[name], later)
        heads[name] = calibration(predicted(ranker, lists.test), lists.test.inputs)
    return choice.served, heads


def compare(lists: Lists, models: Mapping[str, Predictions], *, baseline: str, seed: int) -> Comparison:
    """Rankers on the test requests, with intervals over requests."""
    rng = np.random.default_rng(seed)
    return compare_rankers(models, lists.test.labels, lists.offsets, baseline=baseline, rng=rng)


def measures(comparison: Comparison, served: str, bars: Sequence[Bar], *, prefix: str = "") -> list[Measure]:
    """The served ranker against its bars, the others beside it."""
    rows = []
    for bar in bars:
        for model, metrics in comparison.metrics.items():
            one = metrics[bar.metric]
            who, limit = (f"served: {model}", bar.bar) if model == served else (model, None)
            rows.append(Measure(f"{prefix}{bar.name}, {who}", one.value, "", limit, (one.low, one.high)))
    return rows
