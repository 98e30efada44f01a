"""Trees that order lists, from clicks of a cascade on MQ2008: what the libraries' debiasing of places gives back.

The recipe of LightGBM's own test, on MQ2008 (its example's data are not at hand): a feature orders each query's
documents, BM25 of the whole document; a reader goes down the list, clicks a document with probability .4, .6 or .7 by
its relevance 0, 1 or 2, and leaves after each with probability .2. Trees learn from the clicks of the fold's train
queries, each read SESSIONS times, as a run's trees do with `trees.objective = "lambdarank"`. They are judged by the
true relevance of its test queries: NDCG@3, over SEEDS draws of clicks.
"Full information" learns from clicks of readers who never leave.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import stats

from benchmarks.mq2008 import FEATURES, SEED, Fold, offsets_of, read_fold
from benchmarks.record import Measure, record, skip
from evaluation.ranking import ndcg, rank
from features.spec import Feature, FeatureSpec, Group, Kind, ModelInputs
from jobs.data import data_root
from value_model.rankers.config import TreesConfig
from value_model.rankers.ranker import RankingData
from value_model.rankers.trees import Trees

NAME = "debiased_trees"
SEEDS, SESSIONS, K = range(5), 2, 3
CLICK, LEAVE = np.array([0.4, 0.6, 0.7]), 0.2  # P(click) by relevance; P(leaving) after each document
BASELINE = 24  # the column of BM25 of the whole document
SPEC = FeatureSpec(tuple(Feature(f"f{i}", Group.CROSS, Kind.NUMBER, "of LETOR 4.0") for i in range(FEATURES)))
CONFIG = TreesConfig(trees=50, leaves=15, learning_rate=0.05, min_rows=50, objective="lambdarank")


def inputs_of(numbers: np.ndarray, request: np.ndarray) -> ModelInputs:
    """Documents [N] of queries, numbered from 0: nothing but their numbers is known."""
    queries, rows = int(request.max()) + 1, len(request)
    codes = {name: np.zeros((queries, 0), np.int32) for name in ("user_codes", "user_lists")}
    codes |= {name: np.zeros((rows, 0), np.int32) for name in ("item_codes", "item_lists", "cross_codes")}
    empty = {"user_numbers": np.zeros((queries, 0), np.float32), "item_numbers": np.zeros((rows, 0), np.float32)}
    return ModelInputs(**codes, **empty, cross_numbers=numbers, request=request.astype(np.int32))


def part_of(fold: Fold, part: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers, relevance and query (from 0) of a part's documents."""
    rows = fold.part[fold.query] == part
    return fold.numbers[rows], fold.relevance[rows], np.unique(fold.query[rows], return_inverse=True)[1]


def read_lists(fold: Fold, rng: np.random.Generator, *, leave: float) -> RankingData:
    """The train queries as SESSIONS readers each clicked on them."""
    numbers, relevance, query = part_of(fold, 0)
    place = np.empty(len(query), np.int32)
    order = np.lexsort((-numbers[:, BASELINE], query))
    place[order] = np.arange(len(query)) - np.searchsorted(query, query) + 1
    place = np.tile(place, SESSIONS)
    request = np.concatenate([query + session * (query.max() + 1) for session in range(SESSIONS)])
    reached = rng.geometric(leave, request.max() + 1) if leave else np.full(request.max() + 1, len(query))
    click = (place <= reached[request]) & (rng.random(len(place)) < CLICK[np.tile(relevance, SESSIONS)])
    labels = {"order": click.astype(np.float32)}
    inputs = inputs_of(np.tile(numbers, (SESSIONS, 1)), request)
    return RankingData(inputs, labels, position=place, weight=np.ones(len(place), np.float32))


def reached(data: RankingData, fold: Fold, config: TreesConfig) -> np.ndarray:
    """NDCG@K of each test query by trees that learned from clicks; NaN without a relevant document."""
    numbers, relevance, query = part_of(fold, 2)
    trees = Trees.fit(data, spec=SPEC, config=config)
    ranked = rank(trees.score(inputs_of(numbers, query), "ctcvr"), offsets_of(fold, 2))
    return ndcg(ranked, 2.0**relevance - 1, k=K)


def measures_of(library: str, fold: Fold) -> list[Measure]:
    """Mean NDCG@K over SEEDS of each way to learn, and what debiasing gains, with an interval over draws of clicks."""
    config = replace(CONFIG, library=library)
    naive, debiased, full = [], [], []
    for seed in SEEDS:
        clicks = read_lists(fold, np.random.default_rng(seed), leave=LEAVE)
        everything = read_lists(fold, np.random.default_rng(seed), leave=0.0)
        naive.append(np.nanmean(reached(clicks, fold, config)))
        debiased.append(np.nanmean(reached(clicks, fold, replace(config, debiased=True))))
        full.append(np.nanmean(reached(everything, fold, config)))
    gain = np.array(debiased) - np.array(naive)
    half = stats.t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain))
    means = {"naive": naive, "debiased": debiased, "full information": full}
    rows = [Measure(f"{library}, {name}: NDCG@{K}", float(np.mean(values)), "share") for name, values in means.items()]
    interval, bar = (float(gain.mean() - half), float(gain.mean() + half)), ">= 0.03" if library == "lightgbm" else None
    return [*rows, Measure(f"{library}, debiased - naive: NDCG@{K}", float(gain.mean()), "share", bar, interval)]


def main() -> None:
    folder = data_root() / "mq2008_fold1"
    if not folder.exists():
        skip(NAME, f"{folder} is missing")
    fold = read_fold(folder, np.random.default_rng(SEED))
    rows = [row for library in ("lightgbm", "xgboost") for row in measures_of(library, fold)]
    record(NAME, rows, data="MQ2008 fold 1, clicks of a cascade", seed=SEEDS.start)


if __name__ == "__main__":
    main()
