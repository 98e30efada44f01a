"""trivago, the RecSys Challenge's question: given all up to the clickout, which item of the list is clicked out?

The bars are those of a LightGBM with 12 hand-made features on all training lists, position among them.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.record import record
from benchmarks.trivago.lists import lists
from benchmarks.trivago.rankers import (
    NETWORK,
    TRAINING,
    Bar,
    compare,
    fitted_trees,
    measures,
    mmoe_heads,
    tree_predictions,
)

NAME, SEED = "trivago_next_clickout", 0
BARS = (
    Bar("ctcvr.auc", "order AUC", ">= 0.877"),
    Bar("ctcvr.ndcg@10", "order NDCG@10", ">= 0.677"),
    Bar("ctcvr.mrr", "order MRR", ">= 0.617"),
)

if __name__ == "__main__":
    data = lists("next_clickout", benchmark=NAME, shown=True)
    network = replace(NETWORK, position_factors=4)
    heads = mmoe_heads(data, shown=True, network=network, training=TRAINING, seed=SEED)
    models = {"MMoE": heads(data.test), "LightGBM": tree_predictions(data, fitted_trees(data))}
    rows = measures(compare(data, models, seed=SEED), BARS, prefix="")
    record(NAME, rows, data="trivago next clickout, last 20 % of impressions", seed=SEED)
