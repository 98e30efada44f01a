"""Grown tables: embeddings of a vocabulary that has grown; each new name starts as what it was taken for before."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from features.encoder import Encoder

TABLE = " table_"  # in a weight's name: "003 table_item"


def grown_tables(weights: Mapping[str, np.ndarray], before: Encoder, now: Encoder) -> dict[str, np.ndarray]:
    """The weights of a model over `before`, by place and name, as those of one over `now`: `before` grown."""
    grown = dict(weights)
    for name, rows in weights.items():
        _, table, vocabulary = name.partition(TABLE)
        if table:
            grown[name] = rows[now.codes_in(before, vocabulary)]
    return grown
