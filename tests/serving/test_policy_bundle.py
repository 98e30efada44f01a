"""A policy bundle shares the models; a staged policy takes its share of shoppers, each for good, and is replayed."""

import os
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from desk.publication import PolicyTrial, ServedPolicy
from marketplace.memory_log import MemoryLog
from serving.bundle import build_engine, load_bundle
from serving.manifest import BundleError, open_manifest
from serving.policy_bundle import write_policy_bundle
from serving.replay import replay
from serving.request import Request
from serving.staging import staged_for
from value_model.formula import load_policy, parse_policy, to_toml
from value_model.slate_policies.shadow_prices import ExposurePromises
from value_model.slate_policies.slate_section import SlateSection


@pytest.fixture
def dearer(bundle):
    """The bundle's policy with ten times the worth of sales."""
    return bundle.policy.with_weights({"w_gmv": 0.5})


def requests(bundle, count):
    time = bundle.manifest.facts["known_until"]
    users = bundle.catalogue.users["user_id"].to_pylist()
    start = build_engine(bundle, log=MemoryLog()).parts.known_until
    assert time
    return [Request(f"r{n}", start + timedelta(seconds=n), "home", users[n % len(users)], k=5) for n in range(count)]


def test_models_are_shared_and_the_policy_is_new(bundle_folder, bundle, dearer, tmp_path):
    manifest = write_policy_bundle(bundle_folder, ServedPolicy(dearer), tmp_path / "2")
    before, made = open_manifest(bundle_folder), load_bundle(tmp_path / "2")
    assert made.policy == dearer
    assert manifest.versions == {**before.versions, "policy": dearer.version}
    assert manifest.version == made.version != before.version
    assert manifest.facts["savedmodel_policy"] == bundle.policy.version
    for name in before.files:
        same = os.path.samefile(bundle_folder / name, tmp_path / "2" / name)
        assert same == (name != "policy.toml")
    assert load_policy(bundle_folder / "policy.toml") == bundle.policy


def test_what_it_serves_is_the_new_policy(bundle_folder, bundle, dearer, tmp_path):
    write_policy_bundle(bundle_folder, ServedPolicy(dearer), tmp_path / "2")
    old, new = (build_engine(load_bundle(f), log=MemoryLog()) for f in (bundle_folder, tmp_path / "2"))
    request = requests(bundle, 1)[0]
    slate, before = new.rank(request).slate, old.rank(request).slate
    assert (slate.policy_version, slate.weights["w_gmv"]) == (dearer.version, 0.5)
    assert before.policy_version == bundle.policy.version
    assert slate.predictions["ctr"].max() > 0
    assert replay(new.parts, slate).same


def test_a_policy_that_the_models_cannot_feed_leaves_nothing(bundle_folder, bundle, tmp_path):
    text = to_toml(bundle.policy).replace("w_gmv * gmv", "w_gmv * gmv + 0 * likes") + (
        '\n[quantities.likes]\nunit = "SAR / impression"\nlow = 0.0\nhigh = 1.0\nhead = true\n'
    )
    with pytest.raises(BundleError, match="reads \\['likes'\\]"):
        write_policy_bundle(bundle_folder, ServedPolicy(parse_policy(text)), tmp_path / "2")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_share_is_kept_and_a_larger_one_keeps_everybody(share):
    users = [f"u{n}" for n in range(20_000)]
    staged = np.array([staged_for(user, version="abc", share=share) for user in users])
    assert staged.mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / len(users)))
    more = np.array([staged_for(user, version="abc", share=share + 0.2) for user in users])
    assert more[staged].all()
    other = np.array([staged_for(user, version="abd", share=share) for user in users])
    assert (staged & other).mean() == pytest.approx(share**2, abs=0.01)  # drawn anew for another policy


def test_a_staged_policy_is_seen_by_its_shoppers_alone_logged_and_replayed(bundle_folder, bundle, dearer, tmp_path):
    write_policy_bundle(bundle_folder, ServedPolicy(bundle.policy, PolicyTrial(dearer, 0.3)), tmp_path / "2")
    engine = build_engine(load_bundle(tmp_path / "2"), log=MemoryLog())
    seen = {}
    for request in requests(bundle, 60):
        slate = engine.rank(request).slate
        staged = staged_for(request.user_id, version=dearer.version, share=0.3)
        version, weight, variant = (
            (dearer.version, 0.5, "staged") if staged else (bundle.policy.version, 0.05, "in force")
        )
        assert (slate.policy_version, slate.weights["w_gmv"]) == (version, weight)
        assert (slate.experiment, slate.variant) == (f"policy {dearer.version}", variant)
        assert replay(engine.parts, slate).same
        assert sum(engine.explain(slate).values()) == pytest.approx(slate.value)
        seen[variant] = slate
    assert set(seen) == {"staged", "in force"}


def test_the_next_bundle_holds_no_trial_of_the_last(bundle_folder, bundle, dearer, tmp_path):
    write_policy_bundle(bundle_folder, ServedPolicy(bundle.policy, PolicyTrial(dearer, 0.3)), tmp_path / "2")
    manifest = write_policy_bundle(tmp_path / "2", ServedPolicy(dearer), tmp_path / "3")
    assert "staged.toml" not in manifest.files
    assert "staged_share" not in manifest.facts
    assert load_bundle(tmp_path / "3").staged is None


def test_another_staged_file_than_the_manifests_is_refused(bundle_folder, bundle, dearer, tmp_path):
    with pytest.raises(ValueError, match="share is 1;"):
        PolicyTrial(dearer, 1.0)
    promises = SlateSection(exposure=ExposurePromises(rate=0.001, highest_price=0.02, fair=0.5))
    paced = replace(bundle.policy, slate=promises)
    with pytest.raises(BundleError, match="promises merchants exposure cannot be staged"):
        write_policy_bundle(bundle_folder, ServedPolicy(bundle.policy, PolicyTrial(paced, 0.3)), tmp_path / "2")
