"""Expert health: whether the experts of a network still say something, and whether its tasks choose among them.

    zeros_e   = share of zeros among the outputs of expert e                       [experts]
    dead_e    = share of the units of expert e that are zero on every row          [experts]
    choice_t  = mean over rows of -sum_k p_k log p_k / log K, p the K shares of task t's gate; 1 = equal shares, 0 = one

An expert that is nearly always zero is paid for on every row and says nothing; it rarely learns again.
Source: Wang et al. 2024, HoME: Hierarchy of Multi-Gate Experts, section 1 (expert collapse: over 90 % zeros).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from features.keras2 import tensorflow as tf
from features.spec import ModelInputs
from value_model.rankers.bodies import Mixture
from value_model.rankers.network_ranker import NetworkRanker

MOST_ZEROS = 0.9  # share above which an expert has collapsed
CHUNK = 16_384  # rows a call


@dataclass(frozen=True)
class ExpertHealth:
    """Shares in the order of the experts (of PLE: level by level, those of each head, then the shared)."""

    zeros: tuple[float, ...]
    dead: tuple[float, ...]
    choice: Mapping[str, float]  # by head

    @property
    def collapsed(self) -> tuple[int, ...]:
        """The experts over MOST_ZEROS."""
        return tuple(int(place) for place in np.flatnonzero(np.array(self.zeros) > MOST_ZEROS))

    def __str__(self) -> str:
        zeros, dead = (" ".join(f"{share:.0%}" for share in shares) for shares in (self.zeros, self.dead))
        gates = ", ".join(f"{head} {entropy:.2f}" for head, entropy in self.choice.items())
        return f"experts: zeros {zeros}; dead units {dead}; entropy of gates {gates}"

    def warning(self) -> str:
        """What to do where experts have collapsed; "" where none has."""
        if not self.collapsed:
            return ""
        return (
            f"experts {', '.join(map(str, self.collapsed))} are over {MOST_ZEROS:.0%} zeros and say next to nothing: "
            "lower training.learning_rate, or set ranker.experts to fewer."
        )


def expert_health(ranker: NetworkRanker, inputs: ModelInputs) -> ExpertHealth:
    """Of a ranker over the rows of `inputs`, one at least, without dropout."""
    zeros, dead, entropy = [], [], []
    for mixture in mixtures(ranker, inputs):
        silent = mixture.experts.numpy() == 0
        zeros.append(silent.mean(axis=2).sum(axis=0))
        dead.append(silent.all(axis=0))
        entropy.append([share_entropy(share.numpy()).sum() for share in mixture.shares])
    rows = len(inputs.request)
    choice = dict(zip(ranker.network.task_names, (np.sum(entropy, axis=0) / rows).tolist(), strict=True))
    units = np.all(dead, axis=0)
    return ExpertHealth(tuple((np.sum(zeros, axis=0) / rows).tolist()), tuple(units.mean(axis=1).tolist()), choice)


def mixtures(ranker: NetworkRanker, inputs: ModelInputs) -> Iterator[Mixture]:
    """What the body makes of the rows, CHUNK of them at once."""
    network = ranker.network
    user = network.user_part(*map(tf.constant, (inputs.user_codes, inputs.user_lists, inputs.user_numbers)))
    columns = inputs.item_codes, inputs.item_lists, inputs.item_numbers, inputs.cross_codes, inputs.cross_numbers
    for start in range(0, len(inputs.request), CHUNK):
        *item, codes, numbers, request = (tf.constant(c[start : start + CHUNK]) for c in (*columns, inputs.request))
        yield network.mixture(network.first(user, network.item_part(*item), codes, numbers, request))


def share_entropy(share: np.ndarray) -> np.ndarray:
    """-sum p log p / log K of shares [N, K], in [0, 1]; 1 where there is nothing to choose."""
    if share.shape[1] == 1:
        return np.ones(len(share))
    return -(share * np.log(np.maximum(share, 1e-30))).sum(axis=1) / np.log(share.shape[1])
