"""The metrics of experiments: sum of a numerator over sum of a denominator, both by unit of assignment.

The columns are sums over one unit's requests: `impressions`, `clicks`, `orders`, `gmv` and `net_gmv` (currency),
`newcomer_impressions`, `sessions`, `requests`, and `units` = 1 for each.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ExperimentMetric:
    """sum of `numerator` / sum of `denominator`; `unit` is of the ratio."""

    name: str
    numerator: str
    denominator: str
    unit: str


EXPERIMENT_METRICS = {
    metric.name: metric
    for metric in (
        ExperimentMetric("ctr", "clicks", "impressions", "click / impression"),
        ExperimentMetric("cvr", "orders", "clicks", "order / click"),
        ExperimentMetric("gmv_per_impression", "gmv", "impressions", "currency / impression"),
        ExperimentMetric("newcomer_share", "newcomer_impressions", "impressions", "1"),
        ExperimentMetric("orders_per_session", "orders", "sessions", "order / session"),
        ExperimentMetric("gmv_per_session", "gmv", "sessions", "currency / session"),
        ExperimentMetric("clicks_per_user", "clicks", "units", "click / user"),
        ExperimentMetric("orders_per_user", "orders", "units", "order / user"),
        ExperimentMetric("gmv_per_user", "gmv", "units", "currency / user"),
        ExperimentMetric("net_gmv_per_user", "net_gmv", "units", "currency / user"),
    )
}
