"""The query tower's Transformer beside RecBole's SASRec, in an environment of its own: Ta Feng, NDCG@10 of SEEDS fits.

The NEWEST purchases of USERS customers drawn once, of products bought at least LEAST times in them, as recorded.
Each customer's last purchase is the test and the one before is validation; every earlier one is learned from what
preceded it, repeats included. All products are ranked, none is left out. Both have embeddings of 64, two blocks of two
heads over the last 20 purchases, and make as many passes over the same rows in batches of as many, the best by recall
of the validation kept. The towers see no more than the items; what differs is what each system has of its own: they
learn by a softmax over a batch's items and a draw of others, RecBole by one over every product. Ours hide no
ids, as the validation of the first fit chose; RecBole has the rest at its defaults.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.peer_environment import answer
from benchmarks.record import Measure, record, skip
from benchmarks.simulated_rows import over_seeds
from evaluation import bootstrap
from features.encoder import FIRST, MISSING
from features.history import ALWAYS
from features.interactions import interactions
from features.spec import HISTORY, FeatureSpec, Group, categories, category
from jobs.data import data_root
from marketplace.datasets.readers import READERS
from retrieval.config import RetrievalConfig
from retrieval.exact import ExactIndex
from retrieval.pairs import ItemInputs, Pairs
from retrieval.tower_training import fit
from retrieval.two_tower import TwoTower

NAME, PEER = "sequence_peers", "recbole"
SEEDS, USERS, NEWEST, LEAST, DEPTH = 3, 3000, 20, 5, 10
SHAPE = RetrievalConfig(
    dimensions=64,
    table_width=64,
    hidden=(),
    sequence="transformer",
    sequence_units=64,
    sequence_blocks=2,
    sequence_heads=2,
    id_dropout=0.0,
    history_dropout=0.0,
    epochs=8,
    batch=128,
    recall_k=DEPTH,
    held_out_most=USERS,
)
HOW = replace(SHAPE, patience=SHAPE.epochs)
THEIRS = {  # what is not said here is their default: Adam, dropout .5
    "hidden_size": SHAPE.sequence_units,
    "inner_size": SHAPE.sequence_units,
    "n_layers": SHAPE.sequence_blocks,
    "n_heads": SHAPE.sequence_heads,
    "loss_type": "CE",
}
ITEM = category(Group.ITEM, "item_id", "the product")
HISTORY_ITEMS = categories(Group.USER, "history_items", "products bought, newest last", vocabulary="item_id")
SPEC = FeatureSpec((ITEM, HISTORY_ITEMS))


@dataclass(frozen=True)
class Purchases:
    """N purchases by customer, as recorded: codes from 0; `place` from the customer's first, `left` to the last."""

    user: np.ndarray
    item: np.ndarray

    @property
    def place(self) -> np.ndarray:
        return np.arange(len(self.user)) - np.searchsorted(self.user, self.user)

    @property
    def left(self) -> np.ndarray:
        return np.searchsorted(self.user, self.user, side="right") - 1 - np.arange(len(self.user))

    @property
    def items(self) -> int:
        return int(self.item.max()) + 1

    def histories(self, rows: np.ndarray) -> np.ndarray:
        """int32 [rows, HISTORY]: what the customer of each purchase bought before it, in the towers' codes."""
        filled = np.minimum(self.place[rows], HISTORY)[:, None]
        step = np.arange(HISTORY)
        before = np.minimum(rows[:, None] - filled + step, len(self.item) - 1)
        return np.where(step < filled, self.item[before] + FIRST, MISSING).astype(np.int32)

    def pairs(self, rows: np.ndarray) -> Pairs:
        n = len(rows)
        return Pairs(
            np.zeros((n, 0), np.int32),
            self.histories(rows),
            np.zeros((n, 0), np.float32),
            np.arange(n),
            self.item[rows],
            np.ones(n, np.float32),
        )

    def write(self, folder: Path) -> None:
        """The file that recbole/run.py reads; names sort as codes do."""
        (folder / "ta_feng").mkdir()
        names = np.char.zfill(self.user.astype(str), 6)
        lines = ["user_id:token\titem_id:token\ttimestamp:float"]
        lines += [f"{user}\t{item}\t{place}" for user, item, place in zip(names, self.item, self.place, strict=True)]
        (folder / "ta_feng" / "ta_feng.inter").write_text("\n".join(lines) + "\n")


def purchases(*, seed: int) -> Purchases:
    """The sample; customers with at least three purchases left."""
    try:
        dataset = READERS["ta-feng"].read(data_root())
    except FileNotFoundError as error:
        skip(NAME, str(error))
    log = interactions(dataset.feedback, item_ids=dataset.items["item_id"], until=ALWAYS)
    user, item = log.users, log.item
    order = np.lexsort((log.time, user))  # stable: of one day as recorded
    user, item = user[order], item[order]
    often = np.flatnonzero(np.bincount(user) >= LEAST)
    keep = np.isin(user, np.random.default_rng(seed).choice(often, USERS, replace=False))
    sample = Purchases(user[keep], item[keep])
    keep = sample.left < NEWEST
    user, item = sample.user[keep], sample.item[keep]
    keep = (np.bincount(item) >= LEAST)[item]
    user, item = user[keep], item[keep]
    keep = (np.bincount(user) >= 3)[user]
    user, item = (np.unique(column[keep], return_inverse=True)[1] for column in (user, item))
    return Purchases(user, item.astype(np.int32))


def ours(sample: Purchases, *, seed: int) -> np.ndarray:
    """int [users, DEPTH]: each customer's best products."""
    rng = np.random.default_rng(seed)
    towers = TwoTower(SPEC, {"item_id": sample.items + FIRST}, config=HOW, rng=rng)
    items = ItemInputs(
        np.arange(FIRST, sample.items + FIRST, dtype=np.int32)[:, None],
        np.zeros((sample.items, 0), np.int32),
        np.zeros((sample.items, 0), np.float32),
    )
    learned = np.flatnonzero((sample.place > 0) & (sample.left > 1))
    later, test = (np.flatnonzero(sample.left == left) for left in (1, 0))
    history = fit(towers, sample.pairs(learned), sample.pairs(later), items, rng=rng, progress=False)
    print(f"ours, seed {seed}: validation {history.recall}", flush=True)
    asked = sample.pairs(test)
    queries = towers.embed_queries(asked.user_codes, asked.user_lists, asked.user_numbers)
    return ExactIndex(towers.embed_items(items)).search(queries, k=DEPTH)[0]


def ndcg(top: np.ndarray, bought: np.ndarray) -> np.ndarray:
    """float64 [users]: 1 / log2(1 + place) of the one product that was bought, 0 where it is not among the best."""
    return ((top == bought[:, None]) / np.log2(np.arange(2, DEPTH + 2))).sum(axis=1)


def main() -> None:
    sample = purchases(seed=0)
    bought = sample.item[sample.left == 0]
    how = {"model": THEIRS, "length": HISTORY, "depth": DEPTH, "epochs": HOW.epochs, "batch": HOW.batch}
    theirs = []
    for seed in range(SEEDS):
        with tempfile.TemporaryDirectory() as folder:
            sample.write(Path(folder))
            settings = how | {"rows": len(sample.item), "seed": seed}
            theirs.append(ndcg(np.array(answer(NAME, PEER, f"seed_{seed}", Path(folder), settings)), bought))
    mine = [ndcg(ours(sample, seed=seed), bought) for seed in range(SEEDS)]
    data = f"Ta Feng, {len(bought):,} customers, {sample.items:,} products, {len(sample.item):,} purchases"
    record(NAME, measures(np.array(mine), np.array(theirs)), data=data, seed=SEEDS)


def measures(mine: np.ndarray, theirs: np.ndarray) -> list[Measure]:
    """Of NDCG [seed, customer]: means over seeds, and their ratio with the same customers drawn for both."""
    both = np.stack([mine.mean(axis=0), theirs.mean(axis=0)], axis=1)
    one, other = bootstrap.means(both, bootstrap.resample(len(both), np.random.default_rng(0)))
    low, high = np.quantile(one.draws / other.draws, [0.025, 0.975])
    return [
        over_seeds(f"NDCG@{DEPTH}, over {SEEDS} fits: value-model", mine.mean(axis=1)),
        over_seeds(f"NDCG@{DEPTH}, over {SEEDS} fits: RecBole's SASRec", theirs.mean(axis=1)),
        Measure("value-model / RecBole's SASRec, over customers", one.value / other.value, "", ">= 0.98", (low, high)),
    ]


if __name__ == "__main__":
    main()
