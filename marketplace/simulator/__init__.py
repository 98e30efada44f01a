"""A simulated GCC marketplace with known truth: what a platform would have logged, and the probabilities behind it."""

from marketplace.simulator.behaviour import Response
from marketplace.simulator.config import SimulatorConfig
from marketplace.simulator.outcomes import SampledOutcomes, expected_outcomes
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
from marketplace.simulator.true_value import best_of_catalogue, per_request, true_difference, true_value

__all__ = [
    "Policy",
    "RequestBatch",
    "Response",
    "SampledOutcomes",
    "Simulation",
    "SimulatorConfig",
    "best_of_catalogue",
    "expected_outcomes",
    "logging_policy",
    "per_request",
    "popularity_policy",
    "random_policy",
    "simulate",
    "true_ctr_policy",
    "true_difference",
    "true_gmv_policy",
    "true_value",
]
