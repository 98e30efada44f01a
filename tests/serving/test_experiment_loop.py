"""From answer to answer: shoppers click less under one variant, the watcher stops it by the log, the engine is back."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from evaluation.experiments.decisions import DecisionKind, decisions_file, read_decisions
from evaluation.experiments.experiment_folder import read_folder
from evaluation.experiments.exposure import exposed_variants
from jobs.experiment_watch import ExperimentWatcher, decide
from marketplace.schema import FEEDBACK, conform
from marketplace.sqlite_log import SqliteLog
from serving.bundle import build_engine
from serving.request import Request
from value_model.formula import to_toml

FILE = """
name = "{name}"
hypothesis = "Sales are worth more."
owner = "growth"
start = {start}
days = 28
control = "in_force"
[layer]
low = {low}
high = {high}
[[variants]]
name = "in_force"
share = 0.5
[[variants]]
name = "changed"
share = 0.5
policy = "policies/{name}.toml"
[metrics]
primary = "ctr"
minimum_effect = 0.05
[[guardrails]]
metric = "ctr"
at_least = -0.1
[ramp]
steps = [0.45, 0.5]
hours = 0
risk = 0.3
"""
USUAL, HARMED = 0.3, 0.05  # probability of a click on each item shown


def clicks(slates, rng):
    """FEEDBACK: shoppers see the whole list, and click little of what the harmful variant shows."""
    rows = []
    for slate in slates:
        harmed = exposed_variants(slate.experiment, slate.variant).get("harmful") == "changed"
        for item in slate.item_id[slate.position > 0]:
            seen = {"request_id": slate.request_id, "item_id": item, "user_id": slate.user_id, "event": "impression"}
            seen |= {"time": slate.time + timedelta(seconds=5), "feedback_id": f"{slate.request_id} {item}"}
            rows.append(seen)
            if rng.random() < (HARMED if harmed else USUAL):
                rows.append(seen | {"event": "click", "feedback_id": f"{seen['feedback_id']} c"})
    return conform(pa.Table.from_pylist(rows), FEEDBACK, where="test")


@pytest.mark.slow
def test_harm_is_stopped_by_itself_and_the_harmless_ramps_on(bundle, tmp_path):
    folder, rng = tmp_path / "experiments", np.random.default_rng(7)
    (folder / "policies").mkdir(parents=True)
    at_once = replace(bundle, config=replace(bundle.config, follow_seconds=0.0))
    log = SqliteLog(tmp_path / "log.sqlite")
    engine = build_engine(at_once, log=log, experiments=folder)
    now = engine.parts.known_until
    for name, weight, low, high in (("harmful", 0.5, 0.0, 0.5), ("harmless", 0.4, 0.5, 1.0)):
        (folder / "policies" / f"{name}.toml").write_text(to_toml(bundle.policy.with_weights({"w_gmv": weight})))
        start = now.isoformat()
        (folder / f"{name}.toml").write_text(FILE.format(name=name, low=low, high=high, start=start))
    engine.follow()
    watcher, harmed = ExperimentWatcher(tmp_path / "log.sqlite"), []
    for batch in range(12):
        slates = []
        for number in range(100):
            now += timedelta(seconds=1)
            request = Request(f"{batch} {number}", now, "home", f"shopper {100 * batch + number}", k=5)
            slates.append(engine.rank(request).slate)
        harmed += [slate.user_id for slate in slates if slate.experiment == "harmful" and slate.variant == "changed"]
        engine.record(clicks(slates, rng))
        now += timedelta(minutes=1)
        for watched in watcher.look(read_folder(folder), now=now):
            decide(tmp_path, watched)
        engine.follow()
    (stop,) = read_decisions(decisions_file(folder, "harmful"))
    assert (stop.kind, stop.variants) == (DecisionKind.STOP, ("changed",))
    assert stop.numbers["ctr of changed, high"] < -0.1
    back = engine.rank(Request("back", now, "home", harmed[0], k=5)).slate
    assert (back.experiment, back.policy_version) == (None, bundle.policy.version)
    assert stop.reason in engine.state.experiments["harmful"].state.reasons["changed"]
    (ramp,) = read_decisions(decisions_file(folder, "harmless"))
    assert (ramp.kind, ramp.step) == (DecisionKind.RAMP, 1)
    assert engine.state.experiments["harmless"].shares(now) == {"in_force": 0.5, "changed": 0.5}
    log.close()
