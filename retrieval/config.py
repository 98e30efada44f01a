"""Every setting of retrieval."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from features.layers.sequence_shape import ENCODERS, SequenceShape
from marketplace.settings import setting
from retrieval.stored_vectors import STORAGES


@dataclass(frozen=True)
class SourcesConfig:
    """What candidate sources remember, and for how long."""

    popularity_half_life: float = setting(14.0, "of events in what is popular", unit="days", least=0.01, most=36_500)
    popularity_prior: float = setting(
        20.0, "events by which a segment's popularity leans on everybody's", unit="events", least=0
    )
    shown_half_life: float = setting(
        30.0, "of list entries in what a context shows", unit="days", least=0.01, most=36_500
    )
    history_half_life: float = setting(120.0, "of what a shopper took before", unit="days", least=0.01, most=36_500)
    covisits_half_life: float = setting(120.0, "of visits in what goes together", unit="days", least=0.01, most=36_500)
    covisits_neighbours: int = setting(100, "co-visited items that are kept of an item", unit="items", least=1)
    affinity_half_life: float = setting(14.0, "of events in a category's share", unit="days", least=0.01, most=36_500)
    affinity_strength: float = setting(0.2, "weight of a category's lift beside an item's share", least=0, most=10)
    merchant_half_life: float = setting(
        30.0, "of events in a merchant's best items", unit="days", least=0.01, most=36_500
    )
    rebuys_prior: float = setting(
        5.0, "shoppers by which an item's rebuy rate leans on the mean", unit="shoppers", least=0
    )
    new_days: float = setting(30.0, "after its launch, during which an item is a new arrival", unit="days", least=0.01)


@dataclass(frozen=True)
class RetrievalConfig:
    """Settings of the towers, of their training and judgement, and of the indexes."""

    # Towers (retrieval.two_tower).
    dimensions: int = setting(64, "width of the embeddings in which query and item meet", least=2, most=4096)
    table_width: int = setting(32, "width of the embedding of a category", least=1, most=4096)
    number_bins: int = setting(8, "quantile bins of a number", least=2, most=256)
    hidden: tuple[int, ...] = setting((128,), "widths between a tower's input and its output", least=1, most=8192)
    sequence: str = setting("mean", "how the query tower reads the history", choices=ENCODERS)
    sequence_units: int = setting(64, "width of a step of the history, unless it is averaged", least=2, most=1024)
    sequence_blocks: int = setting(1, "blocks of a Transformer (transformer, ligr)", least=1, most=16)
    sequence_heads: int = setting(2, "attention heads of a Transformer; they share the units", least=1, most=64)
    sequence_learning_rate: float = setting(
        3e-3, "Adam's learning rate, where the history is read step by step", least=1e-8, most=1
    )
    temperature: float = setting(0.05, "logit = cosine / temperature", least=1e-3, most=10)
    correct_sampling: bool = setting(True, "logQ correction of in-batch negatives")
    remove_accidental_hits: bool = setting(True, "the positive's other copies in the batch are no negatives")
    id_dropout: float = setting(
        0.1,
        "ids of shoppers, items and merchants hidden in training, so that the rest carries new ones",
        unit="share",
        least=0,
        most=1,
    )
    uniform_negatives: int = setting(
        256, "negatives of each batch drawn from the whole catalogue", unit="items", least=0, most=1_000_000
    )

    hard_negatives: int = setting(
        0,
        "negatives of each batch from what the last epoch held nearest",
        unit="items",
        least=0,
        most=1_000_000,
    )
    history_dropout: float = setting(
        0.1, "requests whose shopper is hidden in training, id and history", unit="share", least=0, most=1
    )

    # Training the towers (retrieval.tower_training).
    pairs: int = setting(150_000, "the newest pairs of request and wish are learned from", unit="pairs", least=1)
    order_weight: float = setting(1.0, "weight of a pair whose item was ordered", least=0, most=1000)
    cart_weight: float = setting(0.5, "weight of a pair whose item was put into the cart", least=0, most=1000)
    click_weight: float = setting(0.2, "weight of a pair whose item was clicked", least=0, most=1000)
    shown_weight: float = setting(
        0.3, "weight of a pair whose item was shown and no more, / sqrt(its place); 0 = no pair", least=0, most=1000
    )
    batch: int = setting(1024, "pairs a step", unit="pairs", least=2, most=1_000_000)
    epochs: int = setting(8, "passes at most; early stopping may end sooner", unit="epochs", least=1, most=10_000)
    patience: int = setting(2, "passes without a better held-out recall", unit="epochs", least=0, most=10_000)
    learning_rate: float = setting(0.1, "Adagrad's learning rate, where the history is averaged", least=1e-8, most=10)
    rare_below: int = setting(3, "a name seen less often shares the embedding of the unknown", unit="requests", least=1)
    rare_offers_below: int = setting(
        1,
        "the same of ids of items and merchants; above 1, newcomers pass for what is hardly ever shown",
        unit="requests",
        least=1,
    )
    blend_requests: int = setting(
        500, "validation requests that each surface's blend is fitted on", unit="requests", least=1
    )
    test_requests: int = setting(2000, "test requests that recall is measured on", unit="requests", least=1)
    recall_k: int = setting(100, "held-out recall is of so many items", unit="items", least=1)
    held_out_most: int = setting(4000, "held-out pairs on which recall is measured each epoch", unit="pairs", least=1)

    # Indexes (retrieval.build).
    index: str = setting(
        "scann",
        "what searches the items' embeddings; auto measures all of them",
        choices=("auto", "scann", "faiss", "exact"),
    )
    faiss_form: str = setting(
        "ivf_flat", "inverted lists of vectors or of product codes, or HNSW", choices=("ivf_flat", "ivf_pq", "hnsw")
    )
    storage: str = setting("float32", "of the vectors of exact search", choices=STORAGES)
    index_recall: float = setting(
        0.95,
        "recall that auto must reach; the quickest that does is taken",
        unit="share",
        least=0,
        most=1,
    )
    index_seconds: float = setting(
        120.0, "auto builds no index that would not be there so long after it began", unit="seconds", least=0
    )
    hnsw_links: int = setting(32, "of each item in HNSW's graph", unit="links", least=2, most=256)
    hnsw_beam: int = setting(128, "length of the beam that searches the graph", unit="items", least=1, most=100_000)
    gate: float = setting(0.95, "recall of exact search below which a build is refused", unit="share", least=0, most=1)
    gate_k: int = setting(100, "that recall is of so many items", unit="items", least=1)
    gate_queries: int = setting(256, "queries measured at build", unit="queries", least=1)
    brute_force_below: int = setting(20_000, "items up to which every row is scored", unit="items", least=0)
    partition_from: int = setting(
        100_000, "from here sqrt(items) partitions; below, quantised scoring of every row", unit="items", least=0
    )
    leaves_share: float = setting(0.12, "partitions that a query opens", unit="share", least=1e-4, most=1)
    reorder_factor: int = setting(20, "rows rescored exactly = this x k, for k up to 100", least=1, most=10_000)
    widen_most: int = setting(
        3, "times that a build below its gate may search twice as much", unit="times", least=0, most=20
    )
    dimensions_per_block: int = setting(2, "embedding dimensions quantised together", least=1, most=64)
    exact_filter_below: int = setting(
        10_000, "items allowed by a filter up to which they are all scored", unit="items", least=0
    )
    overfetch: float = setting(1.3, "the index is searched for this x k / share of items allowed", least=1, most=100)

    # While items move (retrieval.moving_index).
    rebuild_share: float = setting(
        0.05, "items moved from which a served index is built anew, in the background", unit="share", least=0, most=1
    )
    rebuild_least: int = setting(
        1000, "items moved up to which no index is built anew: they are scored in no time", unit="items", least=0
    )
    watch_every: int = setting(
        1000, "one search in so many is compared with exact search; 0 = none", unit="searches", least=0
    )

    @property
    def history(self) -> SequenceShape:
        return SequenceShape(self.sequence, self.sequence_units, self.sequence_blocks, self.sequence_heads)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> RetrievalConfig:
        values = json.loads(text)
        return cls(**values | {"hidden": tuple(values["hidden"])})


DEFAULTS = RetrievalConfig()
SOURCE_DEFAULTS = SourcesConfig()
