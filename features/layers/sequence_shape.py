"""Sequence shape: how a history is read; known without TensorFlow, so that settings can name it."""

from __future__ import annotations

from dataclasses import dataclass

from marketplace.finding import FieldError

ENCODERS = ("mean", "attention", "gru", "transformer", "ligr")  # of a request alone
TARGETED = (*ENCODERS, "din")  # and of a request against each candidate


@dataclass(frozen=True)
class SequenceShape:
    """`kind` one of TARGETED; `units` of a step; `blocks` and attention `heads` of a Transformer.

    Raises FieldError where the heads of a Transformer cannot share the units.
    """

    kind: str = "mean"
    units: int = 32
    blocks: int = 1
    heads: int = 2

    def __post_init__(self) -> None:
        if self.kind in ("transformer", "ligr") and self.units % self.heads:
            reason = f"{self.units} units of a step of the history cannot be shared by {self.heads} attention heads"
            raise FieldError(reason, "Make sequence_units a multiple of sequence_heads.")
