"""All metrics of one ranker, or of several side by side on the same requests with paired differences.

Metrics are named `head.metric`. A head is judged on the rows of its condition: ctr and ctcvr on all, cvr on clicked,
order_value on ordered rows, gmv on all against the observed order value. What speaks of every item shown also ranks:
ctr for clicks, ctcvr for orders, gmv for order value; `value`, where given, is the formula's result and is judged on
each of them. clicks@k, orders@k and gmv@k are what stood in the first k per request, over all requests; the other
ranking metrics are over requests with a positive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evaluation import bootstrap, ranking
from evaluation.bootstrap import Resampled, Samples
from evaluation.estimate import Estimate
from evaluation.heads import amount_head, probability_head
from marketplace.heads import HeadKind, Labels, heads_of, per_impression, recorded_heads

if TYPE_CHECKING:
    import pandas as pd

Heads = Mapping[str, np.ndarray]  # [N] by name
Metrics = dict[str, Estimate]
VALUE = "value"  # the formula's result, beside the heads


@dataclass(frozen=True)
class Comparison:
    """Metrics by model, and `differences` = the model's metric minus the baseline's, paired by request."""

    baseline: str
    metrics: dict[str, Metrics]
    differences: dict[str, Metrics]

    def table(self) -> pd.DataFrame:
        """One row a (metric, model): value, low, high, difference and its interval."""
        import pandas as pd

        rows = [
            _row(metric, model, estimate, self.differences.get(model, {}).get(metric))
            for model, metrics in self.metrics.items()
            for metric, estimate in metrics.items()
        ]
        return pd.DataFrame(rows).sort_values("metric", kind="stable", ignore_index=True)


def _row(metric: str, model: str, estimate: Estimate, change: Estimate | None) -> dict[str, object]:
    row = {"metric": metric, "model": model, "value": estimate.value, "low": estimate.low, "high": estimate.high}
    if change is not None:
        row |= {"difference": change.value, "difference_low": change.low, "difference_high": change.high}
    return row


def evaluate_ranker(
    predictions: Mapping[str, np.ndarray],
    labels: Labels,
    offsets: np.ndarray,
    *,
    rng: np.random.Generator,
    k: int = 10,
    where: np.ndarray | None = None,
    replicates: int = 200,
    shopper: np.ndarray | None = None,
) -> Metrics:
    """Every metric that the heads [N] and labels allow, each with its 95 % interval over `shopper` [R].

    Raises UnknownHead for a prediction that is neither a head nor the value.
    """
    samples = bootstrap.resample(len(offsets) - 1, rng, replicates=replicates, shopper=shopper)
    return _estimates(_measure(predictions, labels, offsets, samples, k, where))


def compare_rankers(
    models: Mapping[str, Mapping[str, np.ndarray]],
    labels: Labels,
    offsets: np.ndarray,
    *,
    baseline: str,
    rng: np.random.Generator,
    k: int = 10,
    where: np.ndarray | None = None,
    replicates: int = 200,
    shopper: np.ndarray | None = None,
) -> Comparison:
    """`evaluate_ranker` of each model on the same bootstrap samples, so that differences are paired."""
    if baseline not in models:
        raise ValueError(f"baseline {baseline!r} is not among the models {sorted(models)}.")
    samples = bootstrap.resample(len(offsets) - 1, rng, replicates=replicates, shopper=shopper)
    measured = {name: _measure(heads, labels, offsets, samples, k, where) for name, heads in models.items()}
    return compared(measured, baseline=baseline)


def compared(measured: Mapping[str, Mapping[str, Resampled]], *, baseline: str) -> Comparison:
    """Estimates of what was measured by model on the same samples, and the differences from the baseline's."""
    base = measured[baseline]
    differences = {
        name: _estimates({metric: result[metric] - base[metric] for metric in result if metric in base})
        for name, result in measured.items()
        if name != baseline
    }
    return Comparison(baseline, {name: _estimates(result) for name, result in measured.items()}, differences)


def _estimates(results: Mapping[str, Resampled]) -> Metrics:
    return {name: result.estimate() for name, result in results.items()}


def _measure(
    predictions: Mapping[str, np.ndarray],
    labels: Labels,
    offsets: np.ndarray,
    samples: Samples,
    k: int,
    where: np.ndarray | None,
) -> dict[str, Resampled]:
    result: dict[str, Resampled] = {}
    heads = heads_of(name for name in predictions if name != VALUE)
    for head in heads:
        if head in recorded_heads(labels):
            judge = amount_head if head.kind is HeadKind.MONEY else probability_head
            rows = head.rows(labels) if where is None else head.rows(labels) & where
            measured = judge(predictions[head.name], labels[head.label], offsets, samples=samples, where=rows)
            result |= {f"{head.name}.{name}": value for name, value in measured.items()}
    for score, prefix, total, label in _ranked_for(labels):
        if score in predictions:
            measured = _ranking(predictions[score], label, offsets, samples, k, where)
            result[f"{score}.{total}@{k}"] = measured.pop("total")
            result |= {f"{score}.{prefix}{name}": value for name, value in measured.items()}
    return result


def _ranked_for(labels: Labels) -> list[tuple[str, str, str, np.ndarray]]:
    """(score, prefix of the metric, name of the label's total, label) of every ranking question."""
    heads = per_impression([head.name for head in recorded_heads(labels)])
    questions = [(head.name, "", head.total, labels[head.label]) for head in heads]
    return questions + [(VALUE, f"{head.outcome}_", head.total, labels[head.label]) for head in heads]


def _ranking(
    scores: np.ndarray, labels: np.ndarray, offsets: np.ndarray, samples: Samples, k: int, where: np.ndarray | None
) -> dict[str, Resampled]:
    known = ~np.isnan(labels)
    ranked = ranking.rank(scores, offsets, where=known if where is None else where & known)
    labels = np.nan_to_num(labels)
    columns = {
        f"ndcg@{k}": ranking.ndcg(ranked, labels, k=k),
        f"map@{k}": ranking.average_precision(ranked, labels, k=k),
        "mrr": ranking.reciprocal_rank(ranked, labels),
        f"recall@{k}": ranking.recall(ranked, labels, k=k),
        "total": ranking.value_at(ranked, labels, k=k),
    }
    return dict(zip(columns, bootstrap.means(np.column_stack(list(columns.values())), samples), strict=True))
