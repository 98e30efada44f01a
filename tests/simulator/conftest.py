"""Two markets for all tests of the simulator: one quick, one with enough events to compare with the truth."""

from dataclasses import replace

import numpy as np
import pytest

from marketplace.simulator import Simulation, SimulatorConfig, simulate


@pytest.fixture(scope="session")
def small() -> Simulation:
    return simulate(SimulatorConfig.small(), np.random.default_rng(0))


@pytest.fixture(scope="session")
def market_log() -> Simulation:
    config = replace(SimulatorConfig.demo(), requests=16_000, users=2_000, items=3_000, merchants=150)
    return simulate(config, np.random.default_rng(1))
