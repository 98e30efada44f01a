"""A simulated log whose slates took part in an experiment, and the experiment's file."""

from dataclasses import replace
from functools import cache

import numpy as np

from evaluation.experiments.assignment import assign
from evaluation.experiments.experiment_file import parse_experiment
from evaluation.experiments.exposure import with_variants
from marketplace.simulator import SimulatorConfig, simulate

FILE = """
name = "more_clicks"
hypothesis = "Clicks predict that a shopper comes back."
owner = "growth"
start = 2025-01-20T00:00:00Z
days = 28
control = "in_force"
[[variants]]
name = "in_force"
share = 0.5
[[variants]]
name = "clicks_up"
share = 0.5
policy = "clicks_up.toml"
[metrics]
primary = "clicks_per_user"
minimum_effect = 0.05
also = ["ctr", "orders_per_user", "net_gmv_per_user", "newcomer_share"]
[[guardrails]]
metric = "net_gmv_per_user"
at_least = -0.3
[[guardrails]]
metric = "ctr"
at_least = -0.3
"""


@cache
def experiment_log(seed=3, file=FILE):
    """(experiment, slates, feedback): half of the shoppers are under a variant that changes nothing."""
    market = simulate(replace(SimulatorConfig.small(), requests=6_000, users=900), np.random.default_rng(seed))
    experiment = parse_experiment(file)
    return experiment, in_experiment(market.dataset.slates, experiment), market.dataset.feedback


def in_experiment(slates, experiment):
    """The slates from the start on, tagged as the engine would."""
    variant = assign(experiment, slates["user_id"].to_pylist(), step=len(experiment.ramp.steps) - 1)
    begun = np.array([time >= experiment.start for time in slates["time"].to_pylist()])
    names = [one.name for one in experiment.variants]
    variants = [
        names[index] if inside and index >= 0 else None
        for index, inside in zip(variant.tolist(), begun.tolist(), strict=True)
    ]
    return with_variants(slates, experiment.name, variants)
