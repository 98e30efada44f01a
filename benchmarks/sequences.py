"""Sequence encoders on trivago, position unknown: is the history worth more step by step than averaged?

Each encoder is the network of `trivago/rankers.py` with `ranker.sequence` set, all else alike. They are compared on the
validation period, paired by request with the average of items and categories (the default); the best of them is
measured on the test period beside the trees of `trivago/run.toml` and the pool that a run makes of all.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from benchmarks.record import Measure, record
from benchmarks.trivago.lists import Lists, lists
from benchmarks.trivago.rankers import HIDDEN, NETWORK, Bar, as_served, compare, fitted_mmoe, measures
from evaluation.compare import compare_rankers
from value_model.rankers.batches import request_offsets
from value_model.rankers.network_ranker import NetworkRanker

NAME, SEED, UNITS = "sequences", 0, 16
KINDS = ("din", "attention", "gru", "transformer", "ligr")  # a fit takes minutes
TODAY = "mean of items and categories"
METRICS = {"ctr.ndcg@10": "click NDCG@10", "ctcvr.ndcg@10": "order NDCG@10"}
TESTED = tuple(Bar(metric, title) for metric, title in METRICS.items())


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
    served, heads = as_served(data, mmoe, shown=False, seed=SEED)
    return measures(compare(data, heads, baseline=served, seed=SEED), served, TESTED, prefix=f"test, {name}: ")


def of(estimate, title: str) -> Measure:  # type: ignore[no-untyped-def]
    return Measure(title, estimate.value, "", None, (estimate.low, estimate.high))


if __name__ == "__main__":
    record(NAME, encoders(), data="trivago as served, position unknown", seed=SEED)
