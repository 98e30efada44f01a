"""What the served ranker makes of each mapped feature: how much worse it tells what happened without the column.

A feature's column is shuffled among test rows (a request's or a shopper's among requests), which leaves its values and
takes away what they say: permutation importance (Breiman 2001). Columns that say the same stand in for each other,
so that each may seem to tell little. Intervals are DeLong's for two AUCs of the same rows (1988), by requests.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import numpy as np
from scipy.stats import rankdata

from evaluation.estimate import Estimate
from features.spec import Feature, FeatureSpec, Kind, ModelInputs
from marketplace.heads import head_of
from value_model.rankers.ranker import Ranker, RankingData

JUDGED_BY = ("ctr", "ctcvr")
ROWS = 20_000  # test rows that are scored again for every feature, about
Z = 1.96


def mapped_worth(
    ranker: Ranker, data: RankingData, spec: FeatureSpec, *, names: Collection[str], rng: np.random.Generator
) -> dict[str, dict[str, Estimate]]:
    """head -> feature of `names` -> by how much the AUC falls where it is shuffled, with its 95 % interval."""
    features = [feature for feature in spec.features if feature.name in names]
    before = ranker.predict(data.inputs)
    heads = [name for name in JUDGED_BY if name in before and head_of(name).label in data.labels]
    worth: dict[str, dict[str, Estimate]] = {name: {} for name in heads}
    for feature in features:
        after = ranker.predict(shuffled(data.inputs, spec, feature, rng=rng))
        for name in heads:
            head = head_of(name)
            rows = head.rows(data.labels) & (data.weight > 0)
            happened = data.labels[head.label][rows] > 0
            if 0 < happened.sum() < len(happened):
                scores = before[name][rows], after[name][rows]
                worth[name][feature.name] = auc_difference(*scores, happened, data.inputs.request[rows])
    return worth


def worth_lines(worth: Mapping[str, Mapping[str, Estimate]]) -> Iterator[str]:
    """A line a head: its features by what they tell, and those that tell nothing."""
    for head, features in worth.items():
        order = sorted(features, key=lambda name: -features[name].value)
        telling = [name for name in order if features[name].low > 0]
        silent = [name for name in order if features[name].low <= 0]
        parts = [f"{name} {features[name]}" for name in telling]
        nothing = [f"within chance of nothing: {', '.join(silent)}"] if silent else []
        if features:
            told = "; ".join([*([", ".join(parts)] if parts else []), *nothing])
            yield f"mapped features, by what the AUC of {head} loses where each is shuffled: {told}"


def shuffled(inputs: ModelInputs, spec: FeatureSpec, feature: Feature, *, rng: np.random.Generator) -> ModelInputs:
    """The inputs with one feature's column, or its list of columns, in the order of other rows."""
    suffix = {Kind.NUMBER: "numbers", Kind.CATEGORY: "codes", Kind.CATEGORIES: "lists"}[feature.kind]
    name = f"{feature.group.value}_{suffix}"
    packed = getattr(inputs, name).copy()
    place = 0
    for other in spec.select(feature.group, feature.kind):
        width = other.length if feature.kind is Kind.CATEGORIES else 1
        if other.name == feature.name:
            packed[:, place : place + width] = packed[rng.permutation(len(packed)), place : place + width]
        place += width
    return replace(inputs, **{name: packed})


def auc_difference(before: np.ndarray, after: np.ndarray, happened: np.ndarray, unit: np.ndarray) -> Estimate:
    """AUC of `before` less that of `after`, of the same rows (bool [n]), the interval over `unit` (int [n])."""
    areas, influences = zip(*(_influence(scores, happened) for scores in (before, after)), strict=True)
    by_unit = np.bincount(unit, influences[0] - influences[1])
    value, spread = float(areas[0] - areas[1]), Z * float(np.sqrt((by_unit**2).sum()))
    return Estimate(value, value - spread, value + spread, len(np.unique(unit)))


def _influence(scores: np.ndarray, happened: np.ndarray) -> tuple[float, np.ndarray]:
    """The AUC, and by how much each row moves it (float64 [n], summing to 0)."""
    ranks, positives = rankdata(scores), int(happened.sum())
    negatives = len(happened) - positives
    share = np.empty(len(scores))  # of the other kind's rows that a row stands above, or for a negative below
    share[happened] = (ranks[happened] - rankdata(scores[happened])) / negatives
    share[~happened] = 1 - (ranks[~happened] - rankdata(scores[~happened])) / positives
    area = float(share[happened].mean())
    return area, (share - area) / np.where(happened, positives, negatives)
