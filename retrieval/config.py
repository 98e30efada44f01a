"""Every setting of retrieval, with its unit."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class RetrievalConfig:
    """Defaults of the towers and of the indexes; sources take theirs as arguments where they are built."""

    # Towers (retrieval.two_tower).
    dimensions: int = 64  # of the embeddings in which query and item meet
    table_width: int = 32  # of the embedding of a category
    number_bins: int = 8  # quantile bins of a number
    hidden: tuple[int, ...] = (128,)  # widths between a tower's input and its output
    temperature: float = 0.05  # logit = cosine / temperature
    correct_sampling: bool = True  # logQ correction
    remove_accidental_hits: bool = True  # the positive's other copies in the batch are no negatives
    id_dropout: float = 0.1  # share of item and user ids hidden in training, so that the rest carries new ones
    uniform_negatives: int = 256  # items drawn from the whole catalogue as further negatives of each batch

    # Training the towers (retrieval.tower_training).
    batch: int = 1024  # pairs
    epochs: int = 20
    patience: int = 2  # epochs without a better held-out recall
    learning_rate: float = 0.1  # Adagrad
    recall_k: int = 100
    held_out_most: int = 4000  # held-out pairs on which recall is measured each epoch

    # Indexes (retrieval.build).
    gate: float = 0.95  # recall@100 against exact search below which a build is refused
    gate_k: int = 100
    gate_queries: int = 256  # queries measured at build
    brute_force_below: int = 20_000  # rows: every row is scored
    partition_from: int = 100_000  # rows: sqrt(rows) partitions; between the two, quantised scoring of every row
    leaves_share: float = 0.12  # share of the partitions that a query opens
    reorder_factor: int = 20  # rows rescored exactly = this x k, for k up to 100
    widen_most: int = 3  # times that a build below its gate may search twice as much before it is refused
    dimensions_per_block: int = 2  # embedding dimensions quantised together
    exact_filter_below: int = 10_000  # rows allowed by a filter up to which they are all scored
    overfetch: float = 1.3  # asked of the index = this x k / share of rows allowed

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> RetrievalConfig:
        values = json.loads(text)
        return cls(**values | {"hidden": tuple(values["hidden"])})


DEFAULTS = RetrievalConfig()
