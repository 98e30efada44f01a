"""trivago as served, position shown: what a run's rankers know of clicks and orders when they know the places.

The position is an input of all; that is how a log is predicted, not how a list is ordered. What a run serves, which
knows no place, is `trivago_run`'s.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.record import record
from benchmarks.trivago.lists import lists
from benchmarks.trivago.rankers import AS_SERVED, NETWORK, Bar, as_served, compare, fitted_mmoe, measures

NAME, SEED = "trivago_ranker", 0
BARS = (
    Bar("ctr.auc", "click AUC", ">= 0.808"),
    Bar("ctr.ndcg@10", "click NDCG@10", ">= 0.640"),
    Bar("ctcvr.auc", "order AUC", ">= 0.812"),
    Bar("ctcvr.ndcg@10", "order NDCG@10", ">= 0.616"),
    Bar("cvr.auc", "cvr AUC among clicked", ">= 0.674"),
)

if __name__ == "__main__":
    data = lists("as_served", benchmark=NAME, shown=True, extra=("number_rank",))
    mmoe = fitted_mmoe(data, network=replace(NETWORK, position_factors=4), training=AS_SERVED, seed=SEED)
    served, heads = as_served(data, mmoe, shown=True, seed=SEED)
    rows = measures(compare(data, heads, baseline=served, seed=SEED), served, BARS)
    record(NAME, rows, data="trivago as served, position shown, last 20 % of views", seed=SEED)
