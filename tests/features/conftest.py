"""Fixtures of the features room."""

from __future__ import annotations

import numpy as np
import pytest
from feature_market import random_market


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def market(rng):
    return random_market(rng)
