"""The network's bodies beside torch-rechub's MMoE, PLE and ESMM, in an environment of their own: AUC over SEEDS fits.

trivago as served, position unknown, one training view in EVERY: the same rows, categories, lists and numbers, split by
time. Embeddings of 4, four experts of 64 and 32 units (of PLE two more, one of each task, and two levels), towers of
32, dropout .2, batches of as many rows, EPOCHS passes at most, the best by validation; each learns by its trainer's
optimizer. Ours learns cvr through the product, is compared by what it says of ctr and ctcvr, and of ESMM is the shared
bottom. Theirs learn clicks and orders beside each other, of ESMM by the product too; they take numbers standardised and
as quantile bins, their ESMM, which takes categories alone, as bins.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.peer_environment import answer
from benchmarks.record import Measure, record
from benchmarks.simulated_rows import over_seeds
from benchmarks.trivago.lists import Lists, lists
from benchmarks.trivago.rankers import NETWORK, TRAINING
from features.encoder import Encoder
from features.spec import Feature, FeatureSpec, Group, Kind, ModelInputs
from marketplace.heads import learned_heads
from value_model.rankers.batches import request_offsets, take
from value_model.rankers.config import NetworkConfig
from value_model.rankers.network_ranker import NetworkRanker
from value_model.rankers.ranker import RankingData
from value_model.rankers.training import fit

NAME, PEER = "multi_task_peers", "torch_rechub"
SEEDS, EPOCHS, EVERY = 5, 8, 6
NEUTRAL = replace(NETWORK, examination="none")  # the peers have no places
SHAPES = {"MMoE": NEUTRAL, "PLE": replace(NEUTRAL, body="ple"), "ESMM": replace(NEUTRAL, body="shared_bottom")}
HOW = replace(TRAINING, epochs=EPOCHS, patience=2, learning_rate=2e-3, batch_requests=32)
THEIR_OPTIMIZER = {"lr": HOW.learning_rate, "weight_decay": 1e-5}  # the decay that is their trainer's own
PREDICTIONS = {"click": "ctr", "order": "ctcvr"}


def ours(parts: Mapping[str, RankingData], data: Lists, shape: NetworkConfig, *, seed: int) -> list[float]:
    """AUC of clicks and of orders on the test rows."""
    rng, labels = np.random.default_rng(seed), parts["test"].labels
    ranker = NetworkRanker(data.encoder.spec, data.encoder.sizes, config=shape, heads=learned_heads(labels), rng=rng)
    fit(ranker, parts["train"], parts["later"], config=HOW, rng=rng, progress=False)
    predicted = ranker.predict(parts["test"].inputs)
    return [roc_auc_score(labels[label], predicted[head]) for label, head in PREDICTIONS.items()]


def write(folder: Path, parts: Mapping[str, RankingData], spec: FeatureSpec) -> None:
    """The files that torch_rechub/run.py reads."""
    features = known_numbers(parts["train"].inputs, spec)
    train = numbers(parts["train"].inputs, spec, features)
    edges = np.nanquantile(train, np.linspace(0, 1, NETWORK.bins + 1)[1:-1], axis=0)
    mean, deviation = np.nanmean(train, axis=0), np.nanstd(train, axis=0) + 1e-6
    for part, data in parts.items():
        values = numbers(data.inputs, spec, features)
        standard = np.nan_to_num((values - mean) / deviation).astype(np.float32)
        columns = categories(data.inputs, spec) | {"numbers": standard}
        for feature, column, steps in zip(features, values.T, edges.T, strict=True):
            columns[f"bin {feature.name}"] = np.where(np.isnan(column), NETWORK.bins, np.searchsorted(steps, column))
        np.savez(folder / f"{part}.npz", **columns, **data.labels)


def known_numbers(inputs: ModelInputs, spec: FeatureSpec) -> list[Feature]:
    """Those that trivago's log says something of."""
    values = inputs.numbers(spec)
    features = [feature for group in Group for feature in spec.select(group, Kind.NUMBER)]
    return [feature for feature in features if not np.isnan(values[feature.name]).all()]


def numbers(inputs: ModelInputs, spec: FeatureSpec, features: list[Feature]) -> np.ndarray:
    """float64 [N, M] on the scale that the model sees."""
    values = inputs.numbers(spec)
    columns = [values[feature.name].astype(np.float64) for feature in features]
    logs = [np.log1p(np.maximum(x, 0)) if f.log_scale else x for x, f in zip(columns, features, strict=True)]
    return np.stack(logs, axis=1)


def categories(inputs: ModelInputs, spec: FeatureSpec) -> dict[str, np.ndarray]:
    """int64 codes of each category [N] and list [N, L]."""
    request = inputs.request
    codes = inputs.user_codes[request], inputs.item_codes, inputs.cross_codes
    columns = {}
    for group, packed in zip(Group, codes, strict=True):
        for place, feature in enumerate(spec.select(group, Kind.CATEGORY)):
            columns[feature.name] = packed[:, place].astype(np.int64)
    for group, packed in ((Group.USER, inputs.user_lists[request]), (Group.ITEM, inputs.item_lists)):
        start = 0
        for feature in spec.select(group, Kind.CATEGORIES):
            columns[feature.name] = packed[:, start : start + feature.length].astype(np.int64)
            start += feature.length
    return columns


def settings(train: RankingData, encoder: Encoder) -> dict[str, object]:
    """Features and shape, for torch_rechub/run.py."""
    spec, sizes = encoder.spec, encoder.sizes
    kinds = {Kind.CATEGORY: "code", Kind.CATEGORIES: "list"}
    named = [[f.name, kinds[f.kind], f.table, sizes[f.table]] for f in spec.features if f.kind in kinds]
    shape = ("bins", "experts", "task_experts", "levels", "tower_units", "dropout")
    return {
        "features": named,
        "numbers": [f"bin {feature.name}" for feature in known_numbers(train.inputs, spec)],
        "width": NETWORK.embedding,
        **{name: getattr(NETWORK, name) for name in shape},
        "expert_units": list(NETWORK.expert_units),
        "optimizer": THEIR_OPTIMIZER,
        "epochs": HOW.epochs,
        "patience": HOW.patience,
        "batch": round(HOW.batch_requests * len(train.weight) / len(train.inputs.user_codes)),
        "seeds": SEEDS,
        "rows": len(train.weight),
    }


def main() -> None:
    data = lists("as_served", benchmark=NAME, shown=False)
    views = len(data.train.inputs.user_codes)
    some = take(data.train, np.arange(0, views, EVERY), offsets=request_offsets(data.train.inputs.request, views))
    parts = {
        name: replace(part, labels={label: part.labels[label] for label in PREDICTIONS})
        for name, part in (("train", some), ("later", data.validation), ("test", data.test))
    }
    rows = len(some.weight)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), parts, data.encoder.spec)
        how = settings(parts["train"], data.encoder)
        peer = {name: answer(NAME, PEER, name, Path(folder), how | {"model": name}) for name in SHAPES}
    record(NAME, list(measures(parts, data, peer)), data=f"trivago as served, {rows:,} rows learned", seed=SEEDS)


def measures(parts: Mapping[str, RankingData], data: Lists, peer: Mapping[str, list[list[float]]]) -> list[Measure]:
    rows = []
    for name, shape in SHAPES.items():
        mine = np.array([ours(parts, data, shape, seed=seed) for seed in range(SEEDS)])
        print(f"ours, {name}: {mine.mean(axis=0)}", flush=True)
        theirs = np.array(peer[name])
        for place, label in enumerate(PREDICTIONS):
            what, one, other = f"{label} AUC, {name}", mine[:, place], theirs[:, place]
            rows.append(over_seeds(f"{what}: value-model", one))
            rows.append(over_seeds(f"{what}: torch-rechub", other))
            rows.append(over_seeds(f"{what}: value-model - torch-rechub", one - other, ">= -0.002"))
    return rows


if __name__ == "__main__":
    main()
