"""A running engine goes over to another policy as if its bundle were loaded; another bundle is loaded."""

import shutil
import time
from datetime import timedelta

import pytest
from test_policies_in_force import NOW, another_bundle

from marketplace.memory_log import MemoryLog
from serving.bundle import build_engine, load_bundle
from serving.manifest import point_current
from serving.policies_in_force import PublishRequest
from serving.policy_renewal import renew
from serving.request import Request
from serving.service import LiveService
from serving.stages import Stages

WHY = {"owner": "growth", "reason": "A try."}


@pytest.fixture
def built():
    return []


@pytest.fixture
def live(policies, built):
    def build(place):
        built.append(place.name)
        return build_engine(load_bundle(place), log=MemoryLog())

    live = LiveService(policies.folder / "bundle", build=build, every=0.0, run=lambda task: task(), renew=renew)
    live.follow()
    return live


def answer(engine, user="u1"):
    request = Request("r", engine.parts.known_until + timedelta(seconds=1), "home", user, k=5, seed=3)
    return engine.answer(request, Stages(time.perf_counter)).slate


def test_it_answers_as_the_loaded_bundle_would_staged_policy_and_all(live, policies, bundle, built):
    engine, dearer = live.current(), bundle.policy.with_weights({"w_click": 0.3})
    policies.put(dearer, PublishRequest(**WHY), now=NOW)
    live.follow()
    assert live.current() is engine
    assert answer(engine) == answer(build_engine(load_bundle(policies.folder / "bundle"), log=MemoryLog()))
    assert (live.state.versions, answer(engine).policy_version) == (policies.manifest.versions, dearer.version)
    trial = bundle.policy.with_weights({"w_click": 0.5})
    policies.put(trial, PublishRequest(**WHY, base=dearer.version, share=0.5), now=NOW)
    live.follow()
    fresh = build_engine(load_bundle(policies.folder / "bundle"), log=MemoryLog())
    users = [f"u{number}" for number in range(8)]
    assert [answer(engine, user) for user in users] == [answer(fresh, user) for user in users]
    assert {answer(engine, user).policy_version for user in users} == {dearer.version, trial.version}
    policies.roll_back(None, now=NOW, **WHY)
    live.follow()
    assert engine.parts.staged is None
    assert built == ["1"]


def test_a_bundle_of_other_files_is_loaded_and_a_damaged_one_refused(live, policies, bundle, built):
    another_bundle(policies, bundle.policy.with_weights({"w_click": 0.3}))
    damaged, copied = (policies.folder / "bundles" / name for name in ("3", "4"))
    shutil.copytree(policies.folder / "bundles" / "2", copied)
    point_current(policies.folder / "bundle", copied)
    live.follow()
    assert built == ["1", "4"]
    engine = live.current()
    another_bundle(policies, bundle.policy, "3")
    (damaged / "policy.toml").write_text((damaged / "policy.toml").read_text() + "\n")
    point_current(policies.folder / "bundle", damaged)
    live.follow()
    assert live.current() is engine
    assert "policy.toml was changed after the export" in live.state.problem
    assert answer(engine).weights["w_click"] == 0.3
