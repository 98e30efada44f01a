"""Sequence encoders on trivago, position unknown: is the history worth more step by step than averaged?

Each encoder is the network of `trivago_ranker` with `ranker.sequence` set, all else alike. They are compared on the
validation period, paired by request with the average of items and categories (the default); the best of them is
measured on the test period, once, with the pool that a run makes of it and the trees.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from benchmarks.record import Measure, record
from benchmarks.trivago.lists import Lists, lists
from benchmarks.trivago.rankers import NETWORK, as_served, compare, fitted_mmoe, fitted_trees, served_measures
from benchmarks.trivago_ranker import HIDDEN, NAMES, SEED, SERVED
from evaluation.compare import compare_rankers
from value_model.rankers.batches import request_offsets
from value_model.rankers.network_ranker import NetworkRanker

NAME, UNITS = "sequences", 16
KINDS = ("din", "transformer")  # a fit takes minutes
TODAY = "mean of items and categories"
METRICS = {"ctr.ndcg@10": "click NDCG@10", "ctcvr.ndcg@10": "order NDCG@10"}


def encoders() -> list[Measure]:
    plain, sequenced = (
        lists("as_served", benchmark=NAME, shown=False, sequence=sequence) for sequence in (False, True)
    )
    fits = {TODAY: fitted(plain, "mean")} | {kind: fitted(sequenced, kind) for kind in KINDS}
    opinions = {
        name: mmoe.predict((plain if name == TODAY else sequenced).validation.inputs) for name, mmoe in fits.items()
    }
    later = sequenced.validation
    offsets = request_offsets(later.inputs.request, len(later.inputs.user_codes))
    rng = np.random.default_rng(SEED)
    validation = compare_rankers(opinions, later.labels, offsets, baseline=TODAY, rng=rng)
    rows = []
    for metric, title in METRICS.items():
        for name, figures in validation.metrics.items():
            rows.append(of(figures[metric], f"validation: {title}, {name}"))
        for name, differences in validation.differences.items():
            rows.append(of(differences[metric], f"validation: {title}, {name} - {TODAY}"))
    best = max(fits, key=lambda name: sum(validation.metrics[name][metric].value for metric in METRICS))
    return [*rows, *test(plain if best == TODAY else sequenced, fits[best], best)]


def fitted(data: Lists, kind: str) -> NetworkRanker:
    start = time.perf_counter()
    mmoe = fitted_mmoe(data, network=replace(NETWORK, sequence=kind, sequence_units=UNITS), training=HIDDEN, seed=SEED)
    print(f"{kind}: {time.perf_counter() - start:.0f} s", flush=True)
    return mmoe


def test(data: Lists, mmoe: NetworkRanker, name: str) -> list[Measure]:
    """The best of validation as a run serves it."""
    served, rankers = as_served(data, mmoe, fitted_trees(data), seed=SEED)
    comparison = compare(data, {NAMES[ranker]: heads for ranker, heads in rankers.items()}, seed=SEED)
    rows = served_measures(comparison, NAMES[served], SERVED, prefix=f"test, {name}: ")
    for metric, title in METRICS.items():
        rows += [of(figures[metric], f"test, {name}: {title}, {who}") for who, figures in comparison.metrics.items()]
    return rows


def of(estimate, title: str) -> Measure:  # type: ignore[no-untyped-def]
    return Measure(title, estimate.value, "", None, (estimate.low, estimate.high))


if __name__ == "__main__":
    record(NAME, encoders(), data="trivago as served, position unknown", seed=SEED)
