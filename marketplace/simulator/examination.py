"""Examination: how far a shopper sees, and what of it gets attention.

Position-based model (Richardson et al. 2007): P(click) = P(examined | surface, position) x P(attracted | request,
item). Examined = seen x attended, where seen means scrolled to: the one is logged as an `impression`, the other is
not. Positions are 1-based. `power` is how much the place matters: 1 = as below, 2 = squared, 0 = all is examined.
"""

from __future__ import annotations

import numpy as np

from marketplace.schema import SURFACES

# Per surface: positions on the first screen, positions that a shopper scrolls on for on average, attention's decay.
FIRST_SCREEN = np.array([6, 4, 6, 3])
SCROLL = np.array([10.0, 12.0, 9.0, 5.0])
DECAY = np.array([0.40, 1.00, 0.50, 0.70])


def seen_curve(*, positions: int, power: float = 1.0) -> np.ndarray:
    """P(scrolled to the position), float64 [surfaces, positions]; 1 on the first screen."""
    beyond = np.maximum(np.arange(1, positions + 1) - FIRST_SCREEN[:, None], 0)
    return np.exp(-power * beyond / SCROLL[:, None])


def attention_curve(*, positions: int, power: float = 1.0) -> np.ndarray:
    """P(attended | seen) = position ** -decay, float64 [surfaces, positions]."""
    return np.arange(1, positions + 1) ** -(power * DECAY[:, None])


def examination_curve(*, positions: int, power: float = 1.0) -> np.ndarray:
    """P(examined), float64 [surfaces, positions]; 1 at the top of every surface."""
    curve = seen_curve(positions=positions, power=power) * attention_curve(positions=positions, power=power)
    assert curve.shape == (len(SURFACES), positions)
    return curve
