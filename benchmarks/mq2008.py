"""MQ2008, fold 1, as a shop's export: 46 features a candidate through a mapping and `value-model run`.

A query is a request of a shopper of its own, a document an item of its own, and its relevance (0, 1, 2) what happened:
nothing, a click, a click and an order. So items and shoppers say nothing, and all there is to learn from is what is
mapped. Requests are timed so that the run's own split by time is the fold's: train, vali, test. NDCG@10 is that of the
learning-to-rank literature, gain 2^relevance - 1, over the queries with a relevant document; documents come in an order
drawn at random, which decides ties.
Source: Qin and Liu 2013, Introducing LETOR 4.0 Datasets.
"""

from __future__ import annotations

import csv
import gzip
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.record import Measure, record, skip
from jobs.config import PeriodsConfig, RunConfig
from jobs.data import data_root
from jobs.prepare import prepare
from jobs.run import run_all
from jobs.run_folder import RunFolder
from jobs.run_rankers import choice_of
from jobs.train_ranker import held_out
from marketplace.slate_columns import flat, item_offsets
from retrieval.config import RetrievalConfig
from value_model.rankers.config import TreesConfig

SEED = 7
PARTS = ("train", "vali", "test")
START = datetime(2026, 1, 1, tzinfo=UTC)
FEATURES = 46
K = 10
SLACK = 0.005  # NDCG@10 that the served default may fall short of LightGBM on the same rows


@dataclass(frozen=True)
class Fold:
    """N documents of R queries, train, vali and test in this order; `query` int64 [N] is increasing."""

    numbers: np.ndarray  # float32 [N, FEATURES]
    relevance: np.ndarray  # int64 [N]
    query: np.ndarray
    part: np.ndarray  # int64 [R]: place in PARTS


def read_fold(folder: Path, rng: np.random.Generator) -> Fold:
    """The fold, each query's documents in an order drawn at random."""
    numbers, relevance, names, part = [], [], [], []
    for place, name in enumerate(PARTS):
        with gzip.open(folder / f"{name}.txt.gz", "rt") as lines:
            for cells in (line.split("#")[0].split() for line in lines):
                relevance.append(int(cells[0]))
                names.append(f"{place}{cells[1]}")
                numbers.append([float(cell.split(":")[1]) for cell in cells[2:]])
                part.append(place)
    _, first, row = np.unique(names, return_index=True, return_inverse=True)
    query = np.argsort(np.argsort(first))[row]
    order = np.lexsort((rng.random(len(query)), query))
    return Fold(
        np.array(numbers, np.float32)[order], np.array(relevance)[order], query[order], np.array(part)[np.sort(first)]
    )


def write_export(fold: Fold, folder: Path, *, mapped: bool) -> Path:
    """The shop's four files and its mapping, whose path is returned; `mapped`: with the features' section."""
    names = [f"f{place:02d}" for place in range(1, FEATURES + 1)]
    items = [f"d{row}" for row in range(len(fold.query))]
    times = [(START + timedelta(minutes=int(query))).isoformat() for query in range(len(fold.part))]
    place = np.arange(len(fold.query)) - np.searchsorted(fold.query, fold.query) + 1
    shown = (
        [f"q{q}", times[q], f"u{q}", item, int(p), *row]
        for q, item, p, row in zip(fold.query.tolist(), items, place, fold.numbers.tolist(), strict=True)
    )
    _write(folder / "shown.csv", ["request", "time", "user", "item", "place", *names], shown)
    _write(folder / "items.csv", ["item", "merchant", "price"], ([item, "web", 1] for item in items))
    events = [
        [f"{event}{row}", f"q{q}", event, times[q], f"u{q}", items[row], 1 if event == "order" else ""]
        for row, (q, grade) in enumerate(zip(fold.query.tolist(), fold.relevance.tolist(), strict=True))
        for event in ("click", "order")[:grade]
    ]
    _write(folder / "events.csv", ["event_id", "request", "event", "time", "user", "item", "amount"], events)
    section = "".join(f'{name} = "{name}"\n' for name in names)
    text = MAPPING + ("\n[slates.numeric]\n" + section if mapped else "")
    path = folder / ("mapped.toml" if mapped else "plain.toml")
    path.write_text(text)
    return path


MAPPING = """name = "MQ2008"
currency = "SAR"

[items]
file = "items.csv"
columns = { item_id = "item", merchant_id = "merchant", price = "price" }

[feedback]
file = "events.csv"
[feedback.columns]
feedback_id = "event_id"
request_id = "request"
event = "event"
time = "time"
user_id = "user"
item_id = "item"
amount = "amount"

[slates]
file = "shown.csv"
[slates.columns]
request_id = "request"
time = "time"
user_id = "user"
item_id = "item"
position = "place"
"""


def _write(path: Path, head: Sequence[str], rows) -> None:  # type: ignore[no-untyped-def]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)


def shares(fold: Fold) -> dict[str, float]:
    """Test and validation shares of a run, so that its split by time is the fold's."""
    train, vali, test = np.bincount(fold.part)
    return {"test_share": test / len(fold.part), "validation_share": vali / (train + vali)}


def ndcg(scores: np.ndarray, relevance: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """NDCG@K of each query with a relevant document."""
    discount = 1 / np.log2(np.arange(2, K + 2))
    values = []
    for start, stop in pairwise(offsets.tolist()):
        gain = 2.0 ** relevance[start:stop] - 1
        if gain.any():
            shown = gain[np.argsort(-scores[start:stop], kind="stable")[:K]]
            best = np.sort(gain)[::-1][:K]
            values.append((shown * discount[: len(shown)]).sum() / (best * discount[: len(best)]).sum())
    return np.array(values)


def lambdarank(fold: Fold) -> dict[str, np.ndarray]:
    """Raw LightGBM on the fold's train part, scores of its test part: as the run's own trees, and stopped on vali."""
    import lightgbm

    part = fold.part[fold.query]
    config = TreesConfig()
    as_run = {"num_leaves": config.leaves, "learning_rate": config.learning_rate, "min_data_in_leaf": config.min_rows}
    train, vali = (
        lightgbm.Dataset(fold.numbers[part == p], fold.relevance[part == p], group=np.diff(offsets_of(fold, p)))
        for p in (0, 1)
    )
    common = {"objective": "lambdarank", "eval_at": [K], "num_threads": 1, "deterministic": True, "verbose": -1}
    stop = lightgbm.early_stopping(50, verbose=False)
    models = {
        f"{config.trees} trees as the run's": lightgbm.train(common | as_run, train, config.trees),
        "its defaults, stopped early on vali": lightgbm.train(
            common | {"metric": "ndcg"}, train, 1000, valid_sets=[vali], callbacks=[stop]
        ),
    }
    return {name: model.predict(fold.numbers[part == 2]) for name, model in models.items()}


def offsets_of(fold: Fold, part: int) -> np.ndarray:
    """Offsets of the documents of a part's queries."""
    return np.append(0, np.cumsum(np.unique(fold.query[fold.part[fold.query] == part], return_counts=True)[1]))


def of_run(run: RunFolder, fold: Fold, scores: str) -> np.ndarray:
    """NDCG@K of a run's test period by the served value, or by a head's predictions."""
    prepared = prepare(run)
    relevance = fold.relevance[fold.part[fold.query] == 2]
    assert np.bincount(fold.part)[2] == prepared.period.test.sum(), "the run's test period is not the fold's"
    slates = pq.read_table(run.path / "evaluation" / "slates.parquet")
    ids = np.array([int(name[1:]) for name in flat(slates, "item_id").to_pylist()])
    first = np.flatnonzero(fold.part[fold.query] == 2)[0]
    values = flat(slates, "value").to_numpy() if scores == "value" else held_out(run, choice_of(run).served)[scores]
    return ndcg(values, relevance[ids - first], item_offsets(slates))


def main() -> None:
    folder = data_root() / "mq2008_fold1"
    if not folder.exists():
        skip("mq2008", f"{folder} is missing")
    fold = read_fold(folder, np.random.default_rng(SEED))
    relevance = fold.relevance[fold.part[fold.query] == 2]
    raw = {name: ndcg(scores, relevance, offsets_of(fold, 2)).mean() for name, scores in lambdarank(fold).items()}
    measures = [Measure(f"raw LightGBM lambdarank, {name}: NDCG@{K}", mean, "share") for name, mean in raw.items()]
    with tempfile.TemporaryDirectory() as place:
        for name, mapped in (("46 mapped features", True), ("without them", False)):
            mapping = write_export(fold, Path(place), mapped=mapped)
            config = RunConfig(
                data=str(mapping),
                seed=SEED,
                retrieval=RetrievalConfig(index="exact"),
                periods=PeriodsConfig(**shares(fold)),
            )
            run = run_all(config, Path(place) / mapping.stem)
            values = of_run(run, fold, "value").mean()
            bar = f">= {max(raw.values()) - SLACK:.4f}" if mapped else None
            measures.append(Measure(f"served default, {name}: NDCG@{K}", values, "share", bar))
    record("mq2008", measures, data="MQ2008 fold 1", seed=SEED)


if __name__ == "__main__":
    main()
