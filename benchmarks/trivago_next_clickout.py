"""trivago, the RecSys Challenge's question: given all up to the clickout, which item of the list is clicked out?

The position is an input of all rankers.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.record import record
from benchmarks.trivago.lists import lists
from benchmarks.trivago.rankers import NETWORK, TRAINING, Bar, as_served, compare, fitted_mmoe, measures

NAME, SEED = "trivago_next_clickout", 0
BARS = (
    Bar("ctcvr.auc", "order AUC", ">= 0.877"),
    Bar("ctcvr.ndcg@10", "order NDCG@10", ">= 0.690"),
    Bar("ctcvr.mrr", "order MRR", ">= 0.630"),
)

if __name__ == "__main__":
    data = lists("next_clickout", benchmark=NAME, shown=True, extra=("number_rank",))
    mmoe = fitted_mmoe(data, network=replace(NETWORK, position_factors=4), training=TRAINING, seed=SEED)
    served, heads = as_served(data, mmoe, shown=True, seed=SEED)
    rows = measures(compare(data, heads, baseline=served, seed=SEED), served, BARS)
    record(NAME, rows, data="trivago next clickout, last 20 % of impressions", seed=SEED)
