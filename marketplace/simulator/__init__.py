"""A simulated GCC marketplace with known truth: what a platform would have logged, and the probabilities behind it."""

from marketplace.simulator.behaviour import Response
from marketplace.simulator.config import SimulatorConfig
from marketplace.simulator.policies import (
    Policy,
    logging_policy,
    popularity_policy,
    random_policy,
    true_ctr_policy,
    true_gmv_policy,
)
from marketplace.simulator.requests import RequestBatch
from marketplace.simulator.simulation import Simulation, simulate

__all__ = [
    "Policy",
    "RequestBatch",
    "Response",
    "Simulation",
    "SimulatorConfig",
    "logging_policy",
    "popularity_policy",
    "random_policy",
    "simulate",
    "true_ctr_policy",
    "true_gmv_policy",
]
