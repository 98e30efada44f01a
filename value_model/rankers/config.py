"""The settings of every ranker, with their units."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class NetworkConfig:
    """The shape of the MMoE."""

    embedding: int = 16  # width of every embedding table
    bins: int = 16  # piecewise-linear quantile bins a number
    experts: int = 4
    expert_units: tuple[int, int] = (128, 64)
    tower_units: int = 32
    dropout: float = 0.1  # share of hidden units, in training only
    positions: int = 64  # the last position that has its own logit; farther ones share it
    position_factors: int = 0  # how many request-and-item factors the position logit is mixed from; 0 = position alone

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> NetworkConfig:
        row = json.loads(text)
        return cls(**row | {"expert_units": tuple(row["expert_units"])})


@dataclass(frozen=True)
class TrainingConfig:
    """How the MMoE is fitted."""

    epochs: int = 30  # at most; early stopping usually ends sooner
    patience: int = 4  # epochs without a better validation loss
    head_patience: int = 2  # the same of one head's loss, after which the head is learned no further
    batch_requests: int = 256  # whole requests a step
    learning_rate: float = 2e-3
    slow_down: float = 0.3  # factor on the learning rate after every epoch that is not the best so far
    decay: float = 0.0  # decoupled weight decay of dense weights, per unit of learning rate
    loss_weights: str = "fixed"  # "fixed" (each head's loss counts once) or "uncertainty" (Kendall et al. 2018)
    value_weight: float = 0.25  # weight of an amount's loss when fixed
    clicked_weight: float = 0.0  # weight of the own loss of heads taught through a product: cvr's on clicked rows
    listwise: str | None = None  # a TF-Ranking loss over each request, as "softmax_loss" or "approx_ndcg_loss"
    listwise_weight: float = 0.1
    position_dropout: float = 0.0  # share of training requests whose positions are hidden


@dataclass(frozen=True)
class TreesConfig:
    """How boosted trees are fitted."""

    library: str = "lightgbm"  # or "xgboost"
    trees: int = 300
    leaves: int = 31
    learning_rate: float = 0.03
    min_rows: int = 20  # rows in a leaf
    categories: int = 256  # a category feature with more values is left out: identifiers overfit trees
    threads: int = 1
    position: bool = False  # take the shown position as an input; a prediction then needs it too
    products: bool = False  # also fit products of probabilities directly, scored by `Trees.score(.., "ctcvr")`
    lambdarank: bool = False  # also fit a ranking model on how many of its events a row saw, scored as "lambdarank"
