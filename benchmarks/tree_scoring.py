"""Trees as they are served against LightGBM's own predict: 500 rows, 300 trees of 31 leaves, one thread.

40 numbers, a twentieth missing, alone and beside 5 categories of up to 200 codes, which most splits then test, as
float32; the booster learns from 40,000 rows. The service reads the tables of the bundle, TensorFlow the graph of the
SavedModel.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import lightgbm
import numpy as np

from benchmarks.record import Measure, record
from features.keras2 import tensorflow as tf
from value_model.rankers.config import TreesConfig
from value_model.rankers.forest import Place
from value_model.rankers.forest_graph import ForestGraph
from value_model.rankers.forest_tables import forest_tables
from value_model.rankers.lightgbm import LightGbmBooster

NAME, SEED = "tree_scoring", 0
ROWS, LEARNED, NUMBERS, CATEGORIES = 500, 40_000, 40, (5, 12, 30, 60, 200)
REPEATS = 200


def table(rng: np.random.Generator, *, rows: int, categories: tuple[int, ...]) -> np.ndarray:
    """float32 [rows, F]; `categories` are the codes of each."""
    numbers = rng.normal(size=(rows, NUMBERS))
    numbers[rng.random(numbers.shape) < 0.05] = np.nan
    return np.column_stack([numbers, *(rng.integers(0, codes, rows) for codes in categories)]).astype(np.float32)


def grown(rng: np.random.Generator, *, categories: tuple[int, ...]) -> lightgbm.Booster:
    """A booster with the run's own settings."""
    inputs, config = table(rng, rows=LEARNED, categories=categories), TreesConfig()
    known = np.nan_to_num(inputs[:, :NUMBERS])
    effect = rng.normal(size=max(CATEGORIES))[inputs[:, NUMBERS:].astype(int)].sum(axis=1)
    signal = known @ rng.normal(0, 0.2, NUMBERS) + known[:, 0] * known[:, 1] + effect - 2
    clicked = rng.random(LEARNED) < 1 / (1 + np.exp(-signal))
    settings = {"objective": "binary", "num_leaves": config.leaves, "learning_rate": config.learning_rate}
    settings |= {"min_data_in_leaf": config.min_rows, "num_threads": 1, "verbose": -1}
    columns = list(range(NUMBERS, inputs.shape[1]))
    return lightgbm.train(settings, lightgbm.Dataset(inputs, clicked, categorical_feature=columns), config.trees)


def seconds(calls: dict[str, Callable[[], object]]) -> dict[str, np.ndarray]:
    """[REPEATS] a call, taken in turns, so that a busy moment falls on all alike."""
    taken = {name: np.empty(REPEATS) for name in calls}
    for repeat in range(-3, REPEATS):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if repeat >= 0:
                taken[name][repeat] = time.perf_counter() - start
    return taken


def measured(name: str, categories: tuple[int, ...]) -> list[Measure]:
    rng = np.random.default_rng(SEED)
    booster = grown(rng, categories=categories)
    rows, trees = table(rng, rows=ROWS, categories=categories), LightGbmBooster(booster, threads=1).forest()
    places = [Place("cross_numbers", c) for c in range(NUMBERS)]
    places += [Place("cross_codes", c) for c in range(len(categories))]
    tables = forest_tables(trees, places)
    graph = tf.function(ForestGraph(tables).score)
    packed = {"cross_numbers": rows[:, :NUMBERS], "cross_codes": rows[:, NUMBERS:].astype(np.int32)}
    packed["request"] = np.zeros(ROWS, np.int32)
    tensors = {name: tf.constant(part) for name, part in packed.items()}
    calls: dict[str, Callable[[], np.ndarray]] = {
        "LightGBM predict": lambda: booster.predict(rows, raw_score=True, num_threads=1),
        "service": lambda: tables.score(packed),
        "TensorFlow": lambda: graph(tensors).numpy(),
    }
    expected = calls["LightGBM predict"]()
    taken = seconds(calls)
    own = taken.pop("LightGBM predict")
    measures = [Measure(f"{name}: LightGBM predict", float(np.median(own)) * 1e3, "ms")]
    for runtime, bar in (("service", ">= 3"), ("TensorFlow", None)):
        ratio, gap = np.median(own) / np.median(taken[runtime]), np.abs(calls[runtime]() - expected).max()
        measures.append(Measure(f"{name}: {runtime}, times as fast", float(ratio), "x", bar))
        measures.append(Measure(f"{name}: {runtime}, largest difference", float(gap), "", "<= 1e-06"))
    return measures


def main() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    measures = [*measured("numbers", ()), *measured("numbers and categories", CATEGORIES)]
    record(NAME, measures, data=f"{ROWS} drawn rows, {TreesConfig().trees} trees, one thread", seed=SEED)


if __name__ == "__main__":
    main()
