"""Examples per CPU-second of a fit, against `fit` of Keras with its Adam: the same network, 3 M embedding rows of 16.

2 M shoppers and 1 M items, drawn by Zipf's law, and ten numbers say which row is clicked; a batch is 4,096 rows, each a
request of its own. Both start from the same weights and pass once over the same rows. The rate counts the CPU time of
all threads, one of each kind, after the graphs are compiled; the AUC is of later rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.record import Measure, record
from features.keras2 import keras
from features.keras2 import tensorflow as tf
from features.spec import Feature, FeatureSpec, Group, Kind, ModelInputs
from marketplace.heads import learned_heads
from value_model.rankers.batches import request_offsets, take
from value_model.rankers.config import NetworkConfig, TrainingConfig
from value_model.rankers.network_ranker import NetworkRanker
from value_model.rankers.ranker import RankingData
from value_model.rankers.training import Fitting

NAME, SEED = "training_rate", 0
SIZES = {"shopper": 2_000_000, "item": 1_000_000}
NUMBERS, BATCH, BATCHES, LATER = 10, 4096, 60, 100_000
SPEC = FeatureSpec(
    (
        Feature("shopper", Group.USER, Kind.CATEGORY, "who"),
        Feature("item", Group.ITEM, Kind.CATEGORY, "what"),
        *(Feature(f"number_{n}", Group.CROSS, Kind.NUMBER, "of both") for n in range(NUMBERS)),
    )
)
TRAINING = TrainingConfig(batch_requests=BATCH, learning_rate=2e-3)


def market(rng: np.random.Generator, *, rows: int) -> RankingData:
    """Rows whose clicks follow from the item, the shopper and the numbers."""
    codes = {name: rng.zipf(1.2, rows) % (size - 2) + 2 for name, size in SIZES.items()}
    numbers = rng.normal(size=(rows, NUMBERS))
    signal = numbers @ np.linspace(-0.4, 0.4, NUMBERS) + np.sin(codes["item"]) + np.sin(codes["shopper"]) / 2 - 1.5
    click = (rng.random(rows) < 1 / (1 + np.exp(-signal))).astype(np.float32)
    none, of_one = np.zeros((rows, 0), np.int32), np.arange(rows, dtype=np.int32)
    inputs = ModelInputs(
        user_codes=codes["shopper"][:, None].astype(np.int32),
        user_lists=none,
        user_numbers=none.astype(np.float32),
        item_codes=codes["item"][:, None].astype(np.int32),
        item_lists=none,
        item_numbers=none.astype(np.float32),
        cross_codes=none,
        cross_numbers=numbers.astype(np.float32),
        request=of_one,
    )
    return RankingData(inputs, {"click": click}, np.zeros(rows, np.int32), np.ones(rows, np.float32))


def network(data: RankingData) -> NetworkRanker:
    shape = NetworkConfig(embedding=16, dropout=0.0)
    heads = learned_heads(data.labels)
    ranker = NetworkRanker(SPEC, SIZES, config=shape, heads=heads, rng=np.random.default_rng(SEED))
    ranker.network.adapt(data)
    return ranker


class KerasTwin(keras.Model):
    """The network as a Keras model of packed inputs by name; its answer is the logit of a click."""

    def __init__(self, ranker: NetworkRanker) -> None:
        super().__init__()
        self.ranked = ranker.network

    def call(self, row: dict[str, tf.Tensor]) -> tf.Tensor:
        user = self.ranked.user_part(row["user_codes"], row["user_lists"], row["user_numbers"])
        item = self.ranked.item_part(row["item_codes"], row["item_lists"], row["item_numbers"])
        request = tf.range(tf.shape(row["cross_codes"])[0])
        return self.ranked.join(user, item, row["cross_codes"], row["cross_numbers"], request).events["ctr"]


def first(data: RankingData, batches: int) -> RankingData:
    """The rows of the first batches."""
    requests = len(data.inputs.user_codes)
    return take(data, np.arange(batches * BATCH), offsets=request_offsets(data.inputs.request, requests))


def cpu_seconds(pass_over: Callable[[RankingData], object], data: RankingData) -> float:
    """CPU time of one pass, after a short one that compiles it."""
    pass_over(first(data, 2))
    start = time.process_time()
    pass_over(data)
    return time.process_time() - start


def main() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    rng = np.random.default_rng(SEED)
    data, later = market(rng, rows=BATCHES * BATCH), market(rng, rows=LATER)
    rates, aucs = {}, {}

    def judged(name: str, ranker: NetworkRanker, pass_over: Callable[[RankingData], object]) -> None:
        rates[name] = len(data.position) / cpu_seconds(pass_over, data)
        aucs[name] = float(roc_auc_score(later.labels["click"], ranker.predict(later.inputs)["ctr"]))

    ranker = network(data)
    fitting = Fitting(ranker, config=TRAINING, seed=SEED)
    judged("value-model", ranker, lambda some: fitting.epoch(some, 0, rate=TRAINING.learning_rate))
    ranker = network(data)
    twin, loss = KerasTwin(ranker), keras.losses.BinaryCrossentropy(from_logits=True)
    twin.compile(optimizer=keras.optimizers.Adam(TRAINING.learning_rate), loss=loss)

    def keras_pass(some: RankingData) -> None:
        row = {name: column for name, column in vars(some.inputs).items() if name != "request"}
        twin.fit(row, some.labels["click"], batch_size=BATCH, epochs=1, verbose=0)

    judged("Keras", ranker, keras_pass)
    measures = [Measure(f"{name}: examples per CPU-second", rate, "1 / s") for name, rate in rates.items()]
    measures.append(Measure("times Keras", rates["value-model"] / rates["Keras"], "x", ">= 2.3"))
    measures += [Measure(f"{name}: AUC", auc, "") for name, auc in aucs.items()]
    measures.append(Measure("AUC, value-model - Keras", aucs["value-model"] - aucs["Keras"], "", ">= -0.001"))
    record(NAME, measures, data=f"{BATCHES * BATCH:,} drawn rows, batches of {BATCH:,}, one thread", seed=SEED)


if __name__ == "__main__":
    main()
