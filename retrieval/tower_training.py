"""Fitting the towers: shuffled pairs, one compiled step, early stopping on the recall of later pairs, resume.

Each epoch draws its order, its uniform negatives and its id dropout from (seed, epoch) alone, so that a run resumed
from its checkpoint goes the way of one that was not stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from features.keras2 import keras
from features.keras2 import tensorflow as tf
from retrieval.exact import ExactIndex
from retrieval.pairs import ItemInputs, Pairs
from retrieval.two_tower import TwoTower


@dataclass(frozen=True)
class TowerHistory:
    """By epoch: mean training loss a pair, and recall of the held-out pairs; `best` is the epoch that was kept."""

    loss: list[float] = field(default_factory=list)
    recall: list[float] = field(default_factory=list)

    @property
    def best(self) -> int:
        return int(np.argmax(self.recall))


def fit(
    towers: TwoTower,
    train: Pairs,
    held_out: Pairs,
    items: ItemInputs,
    *,
    rng: np.random.Generator,
    checkpoint: Path | None = None,
    progress: bool = True,
) -> TowerHistory:
    """Train in place; the towers end with the weights of the epoch of best recall on `held_out` (a later period).

    With `checkpoint` (a folder), every epoch is stored there, and a run finds and continues it.
    """
    config = towers.config
    towers.query_tower.encoder.numbers.adapt(train.user_numbers[np.unique(train.request)])
    towers.item_tower.encoder.numbers.adapt(items.numbers[train.item])
    towers.compile(optimizer=keras.optimizers.Adagrad(config.learning_rate, initial_accumulator_value=0.1))
    towers.optimizer.build(towers.trainable_variables)
    seed = int(rng.integers(2**31))
    step = tf.function(towers.train_step, reduce_retracing=True)
    expected = expected_draws(train.item, len(items), config.batch, config.uniform_negatives)
    history, best = _resume(checkpoint, towers)
    bar = tqdm(range(len(history.loss), config.epochs), desc="two towers", unit="epoch", disable=not progress)
    for epoch in bar:
        if history.recall and epoch - 1 - history.best >= config.patience:
            break
        total = sum(
            float(step(batch)["loss"]) for batch in batches(train, items, expected, towers=towers, seed=(seed, epoch))
        )
        history.loss.append(total / max(float(train.weight.sum()), 1e-9))
        history.recall.append(held_out_recall(towers, held_out, items))
        bar.set_postfix(loss=f"{history.loss[-1]:.3f}", recall=f"{history.recall[-1]:.3f}")
        if history.best == epoch:
            best = towers.arrays()
        if checkpoint:
            _store(checkpoint, towers, history, best)
    towers.assign(best)
    return history


def expected_draws(item: np.ndarray, n_items: int, batch: int, uniform: int) -> np.ndarray:
    """Float32 [n_items]: how often an item is expected among the candidates of a batch, B p_i + U / n."""
    share = np.bincount(item, minlength=n_items) / max(len(item), 1)
    return (batch * share + uniform / n_items).astype(np.float32)


def batches(
    train: Pairs, items: ItemInputs, expected: np.ndarray, *, towers: TwoTower, seed: tuple[int, int]
) -> Iterator[dict[str, tf.Tensor]]:
    """One epoch of inputs for `TwoTower.compute_loss`; the last, incomplete batch is left out if others exist."""
    config = towers.config
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(train))
    size = min(config.batch, len(order))
    for number, start in enumerate(range(0, len(order) - size + 1, size)):
        rows = order[start : start + size]
        uniform = rng.integers(len(items), size=config.uniform_negatives, dtype=np.int32)
        item, request = np.concatenate([train.item[rows], uniform]), train.request[rows]
        batch = {
            "user_codes": train.user_codes[request],
            "user_lists": train.user_lists[request],
            "user_numbers": train.user_numbers[request],
            "item_codes": items.codes[item],
            "item_lists": items.lists[item],
            "item_numbers": items.numbers[item],
            "item": item,
            "expected": expected[item],
            "weight": train.weight[rows],
            "seed": np.array([seed[0] ^ seed[1], 2 * number], np.int32),
        }
        yield {name: tf.constant(value) for name, value in batch.items()}


def held_out_recall(towers: TwoTower, held_out: Pairs, items: ItemInputs) -> float:
    """Share of held-out pairs whose item is among the request's `recall_k` nearest of the whole catalogue."""
    config = towers.config
    rows = np.linspace(0, len(held_out) - 1, min(len(held_out), config.held_out_most)).astype(int)
    request, place = np.unique(held_out.request[rows], return_inverse=True)
    queries = towers.embed_queries(
        held_out.user_codes[request], held_out.user_lists[request], held_out.user_numbers[request]
    )
    nearest, _ = ExactIndex(towers.embed_items(items)).search(queries, k=config.recall_k)
    return float((nearest[place] == held_out.item[rows, None]).any(axis=1).mean())


def _store(folder: Path, towers: TwoTower, history: TowerHistory, best: dict[str, np.ndarray]) -> None:
    """The state after an epoch; the history is written last, so that it never tells of weights that are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    slots = {f"{place:03d}": variable.numpy() for place, variable in enumerate(towers.optimizer.variables)}
    for name, arrays in (("weights", towers.arrays()), ("best", best), ("optimizer", slots)):
        np.savez(folder / f"{name}.part.npz", allow_pickle=False, **arrays)
        (folder / f"{name}.part.npz").replace(folder / f"{name}.npz")
    (folder / "history.json").write_text(json.dumps({"loss": history.loss, "recall": history.recall}))


def _resume(folder: Path | None, towers: TwoTower) -> tuple[TowerHistory, dict[str, np.ndarray]]:
    if folder is None or not (folder / "history.json").exists():
        return TowerHistory(), towers.arrays()
    with np.load(folder / "weights.npz", allow_pickle=False) as arrays:
        towers.assign(dict(arrays))
    with np.load(folder / "optimizer.npz", allow_pickle=False) as slots:
        for variable, value in zip(towers.optimizer.variables, slots.values(), strict=True):
            variable.assign(value)
    with np.load(folder / "best.npz", allow_pickle=False) as arrays:
        best = dict(arrays)
    return TowerHistory(**json.loads((folder / "history.json").read_text())), best
