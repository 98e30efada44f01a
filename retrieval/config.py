"""Every setting of retrieval, with its unit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RetrievalConfig:
    """Defaults of the towers and of the indexes; sources take theirs as arguments where they are built."""

    # Indexes (retrieval.build).
    gate: float = 0.95  # recall@100 against exact search below which a build is refused
    gate_k: int = 100
    gate_queries: int = 256  # queries measured at build
    brute_force_below: int = 20_000  # rows: every row is scored
    partition_from: int = 100_000  # rows: sqrt(rows) partitions; between the two, quantised scoring of every row
    leaves_share: float = 0.12  # share of the partitions that a query opens
    reorder_factor: int = 20  # rows rescored exactly = this x k, for k up to 100
    dimensions_per_block: int = 2  # embedding dimensions quantised together
    exact_filter_below: int = 10_000  # rows allowed by a filter up to which they are all scored
    overfetch: float = 1.3  # asked of the index = this x k / share of rows allowed


DEFAULTS = RetrievalConfig()
