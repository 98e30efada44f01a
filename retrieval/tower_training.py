"""Fitting the towers: shuffled pairs, one compiled step, early stopping on the recall of later pairs, resume.

Each epoch draws its order, its uniform negatives and its id dropout from (seed, epoch) alone, so that a run resumed
from its checkpoint goes the way of one that was not stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from features.encoder import MISSING, UNKNOWN
from features.hidden_ids import with_hidden_ids
from features.keras2 import keras
from features.keras2 import tensorflow as tf
from features.spec import Group, Kind
from retrieval.config import RetrievalConfig
from retrieval.exact import ExactIndex
from retrieval.pairs import ItemInputs, Pairs
from retrieval.two_tower import TwoTower

MINED = 50  # of the nearest items of a request
MINED_REQUESTS = 4096  # an epoch
AfterEpoch = Callable[[int, Mapping[str, Mapping[str, float]]], None]  # epoch, period -> curve -> value


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
    after_epoch: AfterEpoch | None = None,
    progress: bool = True,
    anew: bool = True,
) -> TowerHistory:
    """Train in place; the towers end with the weights of the epoch of best recall on `held_out` (a later period).

    With `checkpoint` (a file), every epoch is stored there, and a run finds and continues it. `after_epoch` gets each
    epoch's curves: loss and learning rate of "train", recall of "validation".

    Not `anew`: the towers go on from their weights. Their number transforms stay, and they are themselves epoch 0.
    """
    config = towers.config
    if anew:
        towers.query_tower.encoder.numbers.adapt(train.user_numbers[np.unique(train.request)])
        towers.item_tower.encoder.numbers.adapt(items.numbers[train.item])
    towers.compile(optimizer=optimizer_of(config))
    towers.optimizer.build(towers.trainable_variables)
    seed = int(rng.integers(2**31))
    step = tf.function(towers.train_step, reduce_retracing=True)
    history, best = _resume(checkpoint, towers)
    recall = f"recall@{config.recall_k}"
    if not anew and not history.recall:
        expected = expected_draws(train.item, items, config=config)
        first = batches(train, items, expected, towers=towers, seed=(seed, 0))
        history.loss.append(sum(map(float, map(towers.compute_loss, first))) / max(float(train.weight.sum()), 1e-9))
        history.recall.append(held_out_recall(towers, held_out, items))
    last = config.epochs + (not anew)
    bar = tqdm(range(len(history.loss), last), desc="two towers", unit="epoch", disable=not progress)
    for epoch in bar:
        if history.recall and epoch - 1 - history.best >= config.patience:
            break
        mined = mined_negatives(towers, train, items, seed=(seed, epoch)) if config.hard_negatives and epoch else None
        expected = expected_draws(train.item, items, config=config, mined=mined)
        epoch_batches = batches(train, items, expected, towers=towers, seed=(seed, epoch), mined=mined)
        total = sum(float(step(batch)["loss"]) for batch in epoch_batches)
        history.loss.append(total / max(float(train.weight.sum()), 1e-9))
        history.recall.append(held_out_recall(towers, held_out, items))
        bar.set_postfix(loss=f"{history.loss[-1]:.3f}", recall=f"{history.recall[-1]:.3f}")
        if history.best == epoch:
            best = towers.arrays()
        if checkpoint:
            _store(checkpoint, towers, history, best)
        if after_epoch:
            rate = {"learning rate": config.learning_rate}
            after_epoch(epoch, {"train": {"loss": history.loss[-1]} | rate, "validation": {recall: history.recall[-1]}})
    towers.assign(best)
    return history


def optimizer_of(config: RetrievalConfig) -> keras.optimizers.Optimizer:
    """Adagrad (Duchi et al. 2011) of towers that average a history, Adam (Kingma and Ba 2015) of others.

    Adagrad's first step moves a weight by its whole rate. That suits embeddings, of which a row is seen now and then;
    it undoes the start of a Transformer, which then says the same of every history.
    """
    if config.sequence == "mean":
        return keras.optimizers.Adagrad(config.learning_rate, initial_accumulator_value=0.1)
    return keras.optimizers.Adam(config.sequence_learning_rate)


def expected_draws(
    item: np.ndarray, items: ItemInputs, *, config: RetrievalConfig, mined: np.ndarray | None = None
) -> np.ndarray:
    """Float32 [n_items]: how often an item is expected among the candidates of a batch, B p_i + U / n + H m_i.

    p_i and m_i are its shares of the pairs' items and of the `mined` ones; n counts the items that had begun, and U is
    0 for the others.
    """
    n_items, begun = len(items), items.had_begun
    expected = config.batch * np.bincount(item, minlength=n_items) / max(len(item), 1)
    expected[begun] += config.uniform_negatives / max(len(begun), 1)
    if mined is not None:
        drawn = mined[mined >= 0]
        expected += config.hard_negatives * np.bincount(drawn, minlength=n_items) / max(len(drawn), 1)
    return expected.astype(np.float32)


def mined_negatives(towers: TwoTower, train: Pairs, items: ItemInputs, *, seed: tuple[int, int]) -> np.ndarray:
    """int32 [R, MINED]: what the towers as they are hold nearest to a request and it did not take; -1 = not mined.

    At most MINED_REQUESTS of the pairs' requests are mined, drawn anew each epoch: the search is exact.
    """
    rng = np.random.default_rng((*seed, 1))
    requests = np.unique(train.request)
    some = np.sort(rng.choice(requests, min(MINED_REQUESTS, len(requests)), replace=False))
    queries = towers.embed_queries(train.user_codes[some], train.user_lists[some], train.user_numbers[some])
    place, _ = ExactIndex(towers.embed_items(items)[items.had_begun]).search(queries, k=MINED)
    nearest = items.had_begun[place]
    taken = np.unique(train.request.astype(np.int64) * len(items) + train.item)
    nearest[np.isin(some[:, None].astype(np.int64) * len(items) + nearest, taken)] = -1
    mined = np.full((len(train.user_codes), nearest.shape[1]), -1, np.int32)
    mined[some] = nearest
    return mined


def batches(
    train: Pairs,
    items: ItemInputs,
    expected: np.ndarray,
    *,
    towers: TwoTower,
    seed: tuple[int, int],
    mined: np.ndarray | None = None,
) -> Iterator[dict[str, tf.Tensor]]:
    """One epoch of inputs for `TwoTower.compute_loss`; the last, incomplete batch is left out if others exist.

    `mined` [R, m]: hard negatives of requests, of which a batch takes one each of `hard_negatives` of its rows.
    """
    config = towers.config
    rng = np.random.default_rng(seed)
    user, of_item = (towers.spec.select(group, Kind.CATEGORY) for group in (Group.USER, Group.ITEM))
    id_column = np.array([feature.name == "user_id" for feature in user], bool)
    order = rng.permutation(len(train))
    size = min(config.batch, len(order))
    for start in range(0, len(order) - size + 1, size):
        rows = order[start : start + size]
        uniform = rng.choice(items.had_begun, config.uniform_negatives)
        request = train.request[rows]
        hard = _hard(mined, request, config.hard_negatives, rng)
        item = np.concatenate([train.item[rows], uniform, hard])
        shopper = rng.random(len(request)) >= config.history_dropout  # those that are not hidden
        known = np.where(shopper[:, None] | ~id_column, train.user_codes[request], UNKNOWN)
        batch = {
            "user_codes": with_hidden_ids(known, user, share=config.id_dropout, rng=rng),
            "user_lists": np.where(shopper[:, None], train.user_lists[request], MISSING),
            "user_numbers": train.user_numbers[request],
            "item_codes": with_hidden_ids(items.codes[item], of_item, share=config.id_dropout, rng=rng),
            "item_lists": items.lists[item],
            "item_numbers": items.numbers[item],
            "item": item,
            "expected": expected[item],
            "weight": train.weight[rows],
        }
        yield {name: tf.constant(value) for name, value in batch.items()}


def _hard(mined: np.ndarray | None, request: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """int32: one of the mined negatives of each of `most` rows, as far as they have some."""
    if mined is None:
        return np.empty(0, np.int32)
    rows = rng.permutation(len(request))[:most]
    drawn = mined[request[rows], rng.integers(mined.shape[1], size=len(rows))]
    return drawn[drawn >= 0]


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


def _store(path: Path, towers: TwoTower, history: TowerHistory, best: dict[str, np.ndarray]) -> None:
    """The state after an epoch: `path` (npz) is written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"w {name}": value for name, value in towers.arrays().items()}
    arrays |= {f"b {name}": value for name, value in best.items()}
    arrays |= {f"o {place:03d}": variable.numpy() for place, variable in enumerate(towers.optimizer.variables)}
    arrays["history"] = np.array(json.dumps(asdict(history)))
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, allow_pickle=False, **arrays)
    temporary.replace(path)


def _resume(path: Path | None, towers: TwoTower) -> tuple[TowerHistory, dict[str, np.ndarray]]:
    """History and best weights of the stored state, whose weights and slots the towers and their optimizer get."""
    if path is None or not path.exists():
        return TowerHistory(), towers.arrays()
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    weights, best = (
        {name[2:]: value for name, value in arrays.items() if name.startswith(part)} for part in ("w ", "b ")
    )
    towers.assign(weights)
    for place, variable in enumerate(towers.optimizer.variables):
        variable.assign(arrays[f"o {place:03d}"])
    return TowerHistory(**json.loads(str(arrays["history"]))), best
