"""Cohorts: rankers judged apart on the rows of whom and what training did not know, and on those that it knew.

A head's AUC and calibration ratio are over the cohort's rows. NDCG@k ranks whole lists, whose gains are those of the
cohort's rows alone, over the requests that have such a gain: of new shoppers it is that of their lists, of new items it
says how high those that were wanted stand among all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from evaluation import bootstrap, ranking
from evaluation.bootstrap import Resampled, Samples
from evaluation.compare import Comparison, Heads, compared
from evaluation.heads import row_metrics
from marketplace.heads import HeadKind, Labels, per_impression, recorded_heads

Cohorts = Mapping[str, np.ndarray]  # bool [N] by name
NEW, KNOWN = "new ", "known "  # begin the names of what training did not know, and of the rest


def by_cohort(
    models: Mapping[str, Heads],
    labels: Labels,
    offsets: np.ndarray,
    cohorts: Cohorts,
    *,
    baseline: str,
    rng: np.random.Generator,
    k: int = 10,
    where: np.ndarray | None = None,
    replicates: int = 100,
    shopper: np.ndarray | None = None,
) -> dict[str, Comparison]:
    """Metrics of each cohort that has rows, under "NAME (ROWS rows)"; arguments as of `compare.compare_rankers`."""
    samples = bootstrap.resample(len(offsets) - 1, rng, replicates=replicates, shopper=shopper)
    counted = np.ones(offsets[-1], bool) if where is None else where
    present = {name: rows & counted for name, rows in cohorts.items() if (rows & counted).any()}
    measured: dict[str, dict[str, dict[str, Resampled]]] = {name: {} for name in present}
    for model, heads in models.items():
        for name, metric, value in _measure(heads, labels, offsets, present, samples, k, counted):
            measured[name].setdefault(model, {})[metric] = value
    return {
        f"{name} ({int(present[name].sum()):,} rows)": compared(results, baseline=baseline)
        for name, results in measured.items()
        if baseline in results
    }


def _measure(
    heads: Heads,
    labels: Labels,
    offsets: np.ndarray,
    cohorts: Cohorts,
    samples: Samples,
    k: int,
    where: np.ndarray,
) -> Iterator[tuple[str, str, Resampled]]:
    """(cohort, metric, value) of the probabilities among a model's heads, and of the heads that rank."""
    recorded = [head for head in recorded_heads(labels) if head.name in heads]
    for head in recorded:
        if head.kind is HeadKind.PROBABILITY:
            kept = head.rows(labels) & where
            for name, rows in cohorts.items():
                result = row_metrics(heads[head.name], labels[head.label], offsets, samples=samples, where=kept & rows)
                yield from ((name, f"{head.name}.{metric}", value) for metric, value in result.items())
    for head in per_impression([head.name for head in recorded]):
        ranked = ranking.rank(heads[head.name], offsets, where=where & ~np.isnan(labels[head.label]))
        for name, rows in cohorts.items():
            gains = np.where(rows, np.nan_to_num(labels[head.label]), 0.0)
            by_request = ranking.ndcg(ranked, gains, k=k)[:, None]
            yield name, f"{head.name}.ndcg@{k}", bootstrap.means(by_request, samples)[0]
