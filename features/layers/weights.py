"""Trained matrices and biases of the sequence layers, from a generator: the same seed gives the same start."""

from __future__ import annotations

import numpy as np

from features.keras2 import tensorflow as tf


def matrix(rng: np.random.Generator, rows: int, columns: int, *, name: str) -> tf.Variable:
    """Glorot-normal start, float32 [rows, columns]."""
    start = rng.normal(0, np.sqrt(2 / (rows + columns)), (rows, columns)).astype(np.float32)
    return tf.Variable(start, name=f"sequence_{name}")


def vector(columns: int, *, name: str, start: float = 0.0) -> tf.Variable:
    return tf.Variable(np.full(columns, start, np.float32), name=f"bias_{name}")
