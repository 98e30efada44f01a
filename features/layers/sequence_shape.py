"""Sequence shape: how a history is read; known without TensorFlow, so that settings can name it."""

from __future__ import annotations

from dataclasses import dataclass

ENCODERS = ("mean", "attention", "gru", "transformer", "ligr")  # of a request alone
TARGETED = (*ENCODERS, "din")  # and of a request against each candidate


@dataclass(frozen=True)
class SequenceShape:
    """`kind` one of TARGETED; `units` of a step; `blocks` and attention `heads` of a Transformer."""

    kind: str = "mean"
    units: int = 32
    blocks: int = 1
    heads: int = 2
