"""Which signals pay? Trees with and without each, on the same lists of a run's validation period.

python -m benchmarks.signals RUN        a finished run; without it one of the simulated market is made

Left out, one at a time, of what is served: an item's price beside its category's, the calendar (hour and weekday), the
merchant's identity, the words of its name against the search. Put in, one at a time: the shopper's cluster (k-means of
the query tower's embeddings), the item's nearness to the shopper (the towers' inner product), the merchant's (mean
embedding of its items), the name's (latent semantic analysis of character n-grams, Arabic and English alike, against
the names of the history), days since the month's salaries (the 27th).

Trees learn from the training period and are judged by the validation period: NDCG@10 of clicks and orders, paired by
request, intervals over shoppers. What the towers say of the training period echoes its labels: for their signals, trees
learn from the first 60 % of the validation period and are judged by the rest. A signal pays where the interval of its
difference lies above 0 (of one that was left out, below).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.demo_run import demo_run
from benchmarks.record import Measure, record
from evaluation.compare import compare_rankers
from features.catalogue import Catalogue
from features.spec import FeatureSpec, Group, Kind
from jobs.data import kept
from jobs.prepare import TrainingRows, prepare
from jobs.run_folder import RunFolder
from marketplace.keys import rows_of
from marketplace.slate_columns import flat, to_numpy
from retrieval.build import load_index
from retrieval.two_tower import TwoTower
from value_model.rankers.boosters import Examples, Objective
from value_model.rankers.config import TreesConfig
from value_model.rankers.trees import LIBRARIES, column_names, kept_categories, matrix

NAME = "signals"
SEED, CLUSTERS, TOPICS, LEARNED, PAYDAY, K = 0, 32, 16, 0.6, 27, 10
TREES = TreesConfig(trees=150)
LEFT_OUT: Mapping[str, tuple[str, ...]] = {
    "price beside the category's": ("price_to_category",),
    "hour and weekday": ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos"),
    "merchant": ("merchant_id", "quality", "commission_rate", "return_rate", "refusal_rate"),
    "words of the search": ("lexical_score", "lexical_coverage", "lexical_rank"),
}
Column = tuple[np.ndarray, bool]  # [N], and whether it is a category
Variant = tuple[np.ndarray, Mapping[str, bool]]  # a table, and its columns


def main() -> None:
    with demo_run() as run:
        measures = list(measured(run))
    record(NAME, measures, data="simulated market (demo), validation period", seed=SEED)


def measured(run: RunFolder) -> Iterator[Measure]:
    prepared = prepare(run)
    assert prepared is not None
    validation = np.flatnonzero(prepared.period.validation)
    early, late = np.split(validation, [int(LEARNED * len(validation))])
    spec, inputs = prepared.encoder.spec, prepared.data.inputs
    columns = kept_categories(inputs, TREES)
    table, names = matrix(inputs, columns, None), column_names(spec, columns, TREES)
    of_content, of_towers = further(run, prepared)
    variants: dict[str, Variant] = {"as served": (table, names)}
    for signal, features in LEFT_OUT.items():
        rest = {name: names[name] for name in names if name not in features}
        if len(rest) < len(names):
            variants[f"without {signal}"] = table[:, [place for place, name in enumerate(names) if name in rest]], rest
    variants |= widened(table, names, of_content)
    yield from differences(prepared, np.flatnonzero(prepared.period.train), validation, variants)
    towers = {"as served": (table, names)} | widened(table, names, of_towers)
    yield from differences(prepared, early, late, towers)


def widened(table: np.ndarray, names: Mapping[str, bool], signals: Mapping[str, Column]) -> dict[str, Variant]:
    """The table with each signal as a further column."""
    return {
        f"with {signal}": (np.column_stack([table, column.astype(np.float32)]), {**names, signal: category})
        for signal, (column, category) in signals.items()
    }


def heads(
    prepared: TrainingRows, learned: np.ndarray, judged: np.ndarray, table: np.ndarray, names: Mapping[str, bool]
) -> dict[str, np.ndarray]:
    """P(click) and P(order) of the judged rows, by trees grown from the learned ones."""
    rows, asked = (np.isin(prepared.data.inputs.request, part) for part in (learned, judged))
    grown = {}
    for head, event in (("ctr", "click"), ("ctcvr", "order")):
        label = prepared.data.labels[event][rows]
        known = ~np.isnan(label)
        examples = Examples(table[rows][known], label[known], prepared.data.weight[rows][known], names)
        grown[head] = LIBRARIES["lightgbm"].grow(examples, objective=Objective.EVENT, config=TREES)
    return {head: booster.predict(table[asked]) for head, booster in grown.items()}


def further(run: RunFolder, prepared: TrainingRows) -> tuple[dict[str, Column], dict[str, Column]]:
    """The signals that no feature has, of each row."""
    from sklearn.cluster import MiniBatchKMeans

    dataset, inputs = kept(run.path), prepared.data.inputs
    towers, (index, _) = TwoTower.load_towers(run.path / "retrieval"), load_index(run.path / "retrieval" / "index")
    shopper = towers.embed_queries(inputs.user_codes, inputs.user_lists, inputs.user_numbers)
    item = rows_of(flat(prepared.slates, "item_id"), dataset.items["item_id"])
    merchant = Catalogue.of(dataset).merchant
    of_merchant = means(index.embeddings, merchant)
    clusters = MiniBatchKMeans(CLUSTERS, random_state=SEED, n_init=3).fit(shopper[prepared.period.train])
    topics = name_topics(to_numpy(dataset.items["name"]))
    liked = liked_topics(prepared, topics, dataset.items["item_id"])
    day = pc.day(prepared.slates["time"]).to_numpy()[inputs.request]
    of = inputs.request
    return (
        {
            "nearness of the name": (np.vecdot(liked[of], topics[item]), False),
            "days since salaries": ((day - PAYDAY) % 30, False),
        },
        {
            "shopper's cluster": (clusters.predict(shopper)[of], True),
            "nearness of the item": (np.vecdot(shopper[of], index.embeddings[item]), False),
            "nearness of the merchant": (np.vecdot(shopper[of], of_merchant[merchant[item]]), False),
        },
    )


def means(embeddings: np.ndarray, group: np.ndarray) -> np.ndarray:
    """float32 [groups, d], of length 1."""
    total = np.zeros((group.max() + 1, embeddings.shape[1]), np.float32)
    np.add.at(total, group, embeddings)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)


def name_topics(names: np.ndarray) -> np.ndarray:
    """float32 [items, TOPICS], of length 1: names by the n-grams of characters that go together."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    counts = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=3).fit_transform(names)
    return normalize(TruncatedSVD(TOPICS, random_state=SEED).fit_transform(counts)).astype(np.float32)


def liked_topics(prepared: TrainingRows, topics: np.ndarray, item_ids: pa.ChunkedArray) -> np.ndarray:
    """float32 [R, TOPICS]: the mean of the history's names, 0 without a history."""
    spec: FeatureSpec = prepared.encoder.spec
    start = 0
    for feature in spec.select(Group.USER, Kind.CATEGORIES):
        if feature.name == "history_items":
            break
        start += feature.length
    codes = prepared.data.inputs.user_lists[:, start : start + feature.length]
    known = pa.array(prepared.encoder.vocabularies["item"])
    of_code = np.zeros((len(known) + 2, topics.shape[1]), np.float32)  # 0 = none, 1 = unknown
    of_code[2:] = topics[rows_of(known, item_ids)]
    return of_code[codes].sum(axis=1) / np.maximum((codes > 1).sum(axis=1, keepdims=True), 1)


def differences(
    prepared: TrainingRows, learned: np.ndarray, judged: np.ndarray, variants: Mapping[str, Variant]
) -> Iterator[Measure]:
    """NDCG of the first variant, and what the others add to it, on the judged requests."""
    predictions = {name: heads(prepared, learned, judged, *variant) for name, variant in variants.items()}
    rows = np.isin(prepared.data.inputs.request, judged)
    labels = {name: column[rows] for name, column in prepared.data.labels.items() if name in ("click", "order")}
    labels = {name: np.nan_to_num(column) for name, column in labels.items()}
    mask = np.zeros(len(prepared.slates), bool)
    mask[judged] = True
    shopper = to_numpy(prepared.slates["user_id"].cast(pa.string()))[judged]
    rng, offsets = np.random.default_rng(SEED), prepared.offsets_of(mask)
    compared = compare_rankers(predictions, labels, offsets, baseline="as served", rng=rng, k=K, shopper=shopper)
    for name, metric in (("clicks", f"ctr.ndcg@{K}"), ("orders", f"ctcvr.ndcg@{K}")):
        served = compared.metrics["as served"][metric]
        whole = f"{name}: NDCG@{K} as served, {len(learned):,} requests learned, {len(judged):,} judged"
        yield Measure(whole, served.value, "", None, (served.low, served.high))
        for model, metrics in compared.differences.items():
            change = metrics[metric]
            yield Measure(f"{name}: {model}", change.value, "NDCG", None, (change.low, change.high))


if __name__ == "__main__":
    main()
