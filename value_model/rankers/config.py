"""The settings of every ranker."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

from features.layers.sequence_shape import TARGETED, SequenceShape
from marketplace.finding import FieldError
from marketplace.presentation import WIDTHS
from marketplace.settings import setting

TREE_LIBRARIES = ("lightgbm", "xgboost")


@dataclass(frozen=True)
class NetworkConfig:
    """The shape of the network."""

    body: str = setting(
        "mmoe",
        "how heads share what they learn: one bottom, experts, experts of each head too, or transfer",
        choices=("shared_bottom", "mmoe", "ple", "aitm"),
    )
    embedding: int = setting(16, "width of every embedding table", least=1, most=1024)
    bins: int = setting(16, "piecewise-linear quantile bins of a number", least=2, most=256)
    experts: int = setting(4, "experts that every head mixes; of a shared bottom, its width in them", least=1, most=64)
    task_experts: int = setting(1, "experts of each head alone (ple)", least=1, most=64)
    levels: int = setting(2, "levels of experts (ple)", least=1, most=8)
    expert_units: tuple[int, int] = setting((128, 64), "widths of an expert's two layers", least=1, most=8192)
    interactions: str = setting(
        "none",
        "products of features beside the body: none, a low-rank cross network, or a factorisation machine",
        choices=("none", "dcn", "fm"),
    )
    interaction_units: int = setting(32, "columns of the first layer that interact (dcn, fm)", least=1, most=1024)
    cross_layers: int = setting(2, "cross layers (dcn)", least=1, most=8)
    cross_rank: int = setting(8, "rank of a cross layer's matrix (dcn)", least=1, most=1024)
    tower_units: int = setting(32, "width of a head's tower", least=1, most=4096)
    sequence: str = setting("mean", "how the history is read; din = against each candidate", choices=TARGETED)
    sequence_units: int = setting(32, "width of a step of the history, unless it is averaged", least=2, most=1024)
    sequence_blocks: int = setting(1, "blocks of a Transformer (transformer, ligr)", least=1, most=16)
    sequence_heads: int = setting(2, "attention heads of a Transformer; they share the units", least=1, most=64)
    dropout: float = setting(0.1, "share of hidden units dropped in training", least=0, most=0.9)
    examination: str = setting(
        "additive",
        "what a click owes to its place: a logit (additive), a factor P(examined) (pal), clicks that count by 1 / "
        "P(examined) as the log tells it (ipw) or as it is learned beside (dla), or nothing",
        choices=("additive", "pal", "ipw", "dla", "none"),
    )
    presentation: tuple[str, ...] = setting(
        (),
        "what else a click owes to how it was shown (additive alone); serving leaves it out as it does the place",
        choices=tuple(WIDTHS),
    )
    positions: int = setting(64, "the last position with a logit of its own; farther ones share it", least=1, most=4096)
    position_factors: int = setting(
        0, "request-and-item factors that mix the position logit; 0 = position alone", least=0, most=64
    )

    stack: int = setting(
        0,
        "parts of the training period, each scored by trees of those before it, for a further network that reads what "
        "trees say; 0 = none",
        unit="parts",
        least=0,
        most=100,
    )

    def __post_init__(self) -> None:
        if self.stack == 1:
            raise FieldError("is 1: trees of no part score the only one", "Write 4, or 0 for no stack.", key="stack")
        if self.presentation and self.examination != "additive":
            reason = f"has presentation beside examination = {self.examination!r}, which does not read it"
            raise FieldError(reason, "Leave it out, or choose additive.", key="presentation")

    @property
    def history(self) -> SequenceShape:
        return SequenceShape(self.sequence, self.sequence_units, self.sequence_blocks, self.sequence_heads)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> NetworkConfig:
        row = json.loads(text)
        lists = {name: tuple(row[name]) for name in ("expert_units", "presentation") if name in row}
        return cls(**row | lists)


@dataclass(frozen=True)
class TrainingConfig:
    """How the network is fitted."""

    epochs: int = setting(20, "passes at most; early stopping usually ends sooner", unit="epochs", least=1, most=10_000)
    patience: int = setting(4, "passes without a better validation loss", unit="epochs", least=0, most=10_000)
    head_patience: int = setting(
        2, "the same of one head's loss, after which the head is learned no further", unit="epochs", least=0
    )
    batch_requests: int = setting(256, "whole requests a step", unit="requests", least=1, most=1_000_000)
    learning_rate: float = setting(2e-3, "Adam's learning rate", least=1e-8, most=10)
    slow_down: float = setting(
        0.3, "factor on the learning rate after every epoch that is not the best so far", least=1e-6, most=1
    )
    decay: float = setting(0.0, "decoupled weight decay of dense weights, per unit of learning rate", least=0)
    loss_weights: str = setting(
        "fixed",
        "what the heads' losses count: fixed, by their uncertainty, or by their gradients on what they share",
        choices=("fixed", "uncertainty", "gradnorm", "pcgrad", "min_norm"),
    )
    value_weight: float = setting(0.25, "weight of an amount's loss, unless its uncertainty weighs it", least=0)
    clicked_weight: float = setting(
        0.0, "weight of the loss of heads taught through a product: cvr's on clicked rows (esmm)", least=0
    )
    conversion: str = setting(
        "esmm",
        "cvr's own loss beside its product: none but clicked_weight, weighed by 1 / P(click), or doubly robust",
        choices=("esmm", "escm2_ips", "escm2_dr"),
    )
    conversion_weight: float = setting(0.1, "weight of that loss where conversion is escm2_ips or escm2_dr", least=0)
    open_windows: str = setting(
        "left_out",
        "rows too young for an event: unknown, or taught by what is recorded of them, as likely as such delays make it",
        choices=("left_out", "elapsed"),
    )
    objective: str = setting(
        "pointwise",
        "calibrated losses of every row alone, or beside them one that orders the rows of each request",
        choices=("pointwise", "ranknet", "lambdarank", "softmax", "approx_ndcg", "list_mle"),
    )
    objective_weight: float = setting(0.1, "weight of the loss that orders requests", least=0)
    position_dropout: float = setting(
        0.0, "share of training requests whose positions are hidden (additive)", unit="share", least=0, most=1
    )
    least_examination: float = setting(
        0.2, "rows of lower P(examined) count for less: a click counts as 1 / it at most (ipw, dla)", least=1e-3, most=1
    )
    id_dropout: float = setting(
        0.0,
        "ids of shoppers, items and merchants hidden in training, so that the unknown learns how new ones fare",
        unit="share",
        least=0,
        most=1,
    )


@dataclass(frozen=True)
class TreesConfig:
    """How boosted trees are fitted."""

    library: str = setting(
        "lightgbm",
        "the library that grows them; both = each does, and both are weighed and chosen among",
        choices=(*TREE_LIBRARIES, "both"),
    )
    trees: int = setting(300, "trees a head", unit="trees", least=1, most=100_000)
    leaves: int = setting(31, "leaves of a tree at most", unit="leaves", least=2, most=65_536)
    learning_rate: float = setting(0.03, "shrinkage of every tree", least=1e-6, most=1)
    min_rows: int = setting(20, "rows in a leaf at least; of XGBoost, the curvature of so many", unit="rows", least=1)
    categories: int = setting(
        256, "a category with more values is left out: identifiers overfit trees", unit="values", least=0
    )
    feature_share: float = setting(
        1.0, "features that a tree may read, drawn for each tree", unit="share", least=0.01, most=1
    )
    objective: str = setting(
        "pointwise",
        "what heads of every item shown are grown for: the probability, or the order of a list, which calibration then "
        "reads as a probability",
        choices=("pointwise", "lambdarank"),
    )
    debiased: bool = setting(
        False, "lambdarank: the library estimates what places add to clicks (position, lambdarank_unbiased)"
    )
    amounts: str = setting(
        "log_normal",
        "what amounts are: exp of a number, by least squares, or Tweedie",
        choices=("log_normal", "tweedie"),
    )
    anew: bool = setting(
        False, "a run that goes on from an earlier one grows them of the whole training period, and keeps none of its"
    )
    refit: bool = setting(
        False,
        "once weights and calibrators are fitted and the ranker is chosen on the validation period, they are grown "
        "again of the training and the validation period, which are then served",
    )
    threads: int = setting(1, "threads", least=1, most=1024)
    streamed_rows: int = setting(
        2_000_000,
        "rows that trees and a stack learn from where the network streams its own from files",
        unit="rows",
        least=1,
    )
    # Of comparisons, not of a run:
    position: bool = False  # take the shown position as an input; a prediction then needs it too
    products: bool = False  # also fit products of probabilities directly, scored by `Trees.score(.., "ctcvr")`
    lambdarank: bool = False  # also fit a ranking model on how many of its events a row saw, scored as "lambdarank"

    def __post_init__(self) -> None:
        if self.debiased and self.objective != "lambdarank":
            reason = f"has debiased = true beside objective = {self.objective!r}, which compares no places"
            raise FieldError(reason, 'Write objective = "lambdarank", or leave debiased out.', key="debiased")

    @property
    def by_library(self) -> dict[str, TreesConfig]:
        """The settings of each library's trees."""
        names = TREE_LIBRARIES if self.library == "both" else (self.library,)
        return {name: replace(self, library=name) for name in names}


@dataclass(frozen=True)
class CalibrationConfig:
    """How predictions become what they have meant (`value_model.rankers.calibration`)."""

    heads: str = setting(
        "best",
        "the map of a head: the better of Platt and isotonic on later requests, one of them, or none",
        choices=("best", "platt", "isotonic", "none"),
    )
    fewest: int = setting(50, "events below which a head is left as it is", unit="events", least=1)
    groups: tuple[str, ...] = setting(
        ("segment", "surface"), "what adds offsets of its own, the last one last", choices=("segment", "surface")
    )
