"""An example experiment: a simulated log in which one variant makes shoppers click more, and its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evaluation.experiments.assignment import assign
from evaluation.experiments.experiment_file import Experiment, parse_experiment
from evaluation.experiments.exposure import with_variants
from marketplace.simulator import SimulatorConfig, simulate
from marketplace.slate import table_to_slates
from marketplace.slate_columns import to_numpy
from marketplace.sqlite_log import SqliteLog

FILE = """name = "clearer_pictures"
hypothesis = "Shoppers who see an item clearly click it more, and what they click they also order."
owner = "growth"
start = 2025-01-20T00:00:00Z
days = 28
control = "in_force"

[[variants]]
name = "in_force"
share = 0.5

[[variants]]
name = "clear"
share = 0.5
surfaces = "clear.toml"

[metrics]
primary = "ctr"
minimum_effect = 0.1
also = ["clicks_per_user", "cvr", "orders_per_user", "gmv_per_user", "net_gmv_per_user"]

[[guardrails]]
metric = "cvr"
at_least = -0.3

[[guardrails]]
metric = "net_gmv_per_user"
at_least = -0.5
"""
LIFT = 0.35  # log-odds by which the variant raises every click


def example_experiment(folder: Path, *, seed: int = 7, size: SimulatorConfig | None = None) -> Path:
    """Write log.sqlite and clearer_pictures.toml into `folder`, which must be new or empty of them; the file's path."""
    experiment = parse_experiment(FILE)
    path, log_path = folder / f"{experiment.name}.toml", folder / "log.sqlite"
    if log_path.exists():
        raise ValueError(f"{log_path} exists: choose another folder, so that two logs are not mixed.")
    config = size or replace(SimulatorConfig(), requests=12_000, users=3_000)
    slates, feedback = experiment_log(experiment, config, seed=seed, click_lift=LIFT)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(FILE, encoding="utf-8")
    log = SqliteLog(log_path)
    for slate in table_to_slates(slates):
        log.append(slate)
    log.append_feedback(feedback)
    log.close()
    return path


def experiment_log(
    experiment: Experiment, config: SimulatorConfig, *, seed: int, click_lift: float = 0.0, order_lift: float = 0.0
) -> tuple[pa.Table, pa.Table]:
    """(slates, feedback): all variants but the control raise clicks and orders by log-odds, from the start on.

    Both worlds come from one seed: the same shoppers make the same requests, and see the same lists.
    """
    lifted = replace(
        config, click_offset=config.click_offset + click_lift, order_offset=config.order_offset + order_lift
    )
    now, then = (simulate(one, np.random.default_rng(seed)).dataset for one in (config, lifted))
    users = pc.unique(now.slates["user_id"].cast(pa.string())).to_pylist()
    variant = dict(zip(users, assign(experiment, users, step=len(experiment.ramp.steps) - 1).tolist(), strict=True))
    names = [one.name for one in experiment.variants]
    treated = {user for user, at in variant.items() if at >= 0 and names[at] != experiment.control}
    slates = now.slates
    changed = _treated(slates["user_id"], treated) & _begun(slates, experiment)
    requests = slates["request_id"].filter(pa.array(changed))
    feedback = pa.concat_tables(
        [
            now.feedback.filter(pc.invert(pc.is_in(now.feedback["request_id"], requests.combine_chunks()))),
            _renamed(then.feedback.filter(pc.is_in(then.feedback["request_id"], requests.combine_chunks()))),
        ]
    )
    return tagged(slates, experiment, variant), feedback.sort_by("time")


def tagged(slates: pa.Table, experiment: Experiment, variant: dict[str, int]) -> pa.Table:
    """The slates from the start to the end, with the cells that the engine would have logged."""
    names = [*(one.name for one in experiment.variants), None]  # -1 reads the last
    rows = zip(slates["user_id"].to_pylist(), _begun(slates, experiment), strict=True)
    return with_variants(slates, experiment.name, [names[variant[user] if inside else -1] for user, inside in rows])


def _begun(slates: pa.Table, experiment: Experiment) -> np.ndarray:
    time = to_numpy(slates["time"].cast(pa.int64()))
    return (time >= experiment.start.timestamp() * 1e6) & (time < experiment.end.timestamp() * 1e6)


def _treated(users: pa.ChunkedArray, treated: set[str]) -> np.ndarray:
    return to_numpy(pc.is_in(users.cast(pa.string()), pa.array(sorted(treated))))


def _renamed(feedback: pa.Table) -> pa.Table:
    """Events of the other world have ids of their own."""
    at = feedback.schema.get_field_index("feedback_id")
    names = pc.binary_join_element_wise("v", feedback["feedback_id"], "")
    return feedback.set_column(at, feedback.schema.field(at), names)
