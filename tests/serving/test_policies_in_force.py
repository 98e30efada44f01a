"""Bundles of a service's folder: listed, activated with a line of the history, refused before they serve anybody."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from desk.publication import RefusedError, ServedPolicy
from desk.versions import VersionOrigin
from serving.manifest import BundleError
from serving.policies_in_force import UNTRIED, PublishRequest, UnknownBundle
from serving.policy_bundle import write_policy_bundle

NOW = datetime(2026, 3, 1, tzinfo=UTC)
OPS = {"owner": "growth", "reason": "The new models are in.", "now": NOW}


def another_bundle(policies, policy, name="2"):
    write_policy_bundle(policies.folder / "bundle", ServedPolicy(policy), policies.folder / "bundles" / name)


def test_a_policy_is_put_in_force_and_each_line_of_the_history_names_its_changes(policies, bundle):
    request = PublishRequest("growth", "Clicks pay less.")
    saved = policies.put(bundle.policy.with_weights({"w_click": 0.2}), request, now=NOW)
    assert saved.record.noted == (UNTRIED,)
    assert [policies.changes_of(line) for line in policies.history()] == [(), ("w_click 0.14 -> 0.2",)]
    again = replace(request, base=saved.record.version, share=0.1)
    policies.put(bundle.policy.with_weights({"w_click": 0.3}), again, now=NOW)
    assert policies.served().trial.share == 0.1
    with pytest.raises(RefusedError, match="say which version it was made from"):
        policies.put(bundle.policy, request, now=NOW)
    policies.roll_back(None, owner="growth", reason="Enough.", now=NOW)
    assert policies.served() == ServedPolicy(bundle.policy.with_weights({"w_click": 0.2}))


def test_another_bundle_is_activated_with_its_policy_and_the_history_says_so(policies, bundle):
    dearer = bundle.policy.with_weights({"w_gmv": 0.5})
    another_bundle(policies, dearer)
    listed = [(one.id, one.in_force, one.problem) for one in policies.bundles()]
    assert listed == [("2", False, None), ("1", True, None)]
    record = policies.activate("2", **OPS)
    assert (record.kind, record.bundle, record.base) == (VersionOrigin.ACTIVATED, "2", bundle.policy.version)
    assert policies.served().policy == dearer
    assert policies.bundles()[0].manifest.versions["policy"] == dearer.version
    policies.roll_back(None, owner="growth", reason="Its policy alone.", now=NOW)
    assert policies.served().policy == bundle.policy


def test_a_bundle_that_is_refused_never_serves(policies, bundle):
    another_bundle(policies, bundle.policy)
    settings = policies.folder / "bundles" / "2" / "settings.json"
    settings.unlink()
    settings.write_text("{}")
    (policies.folder / "bundles" / "3").mkdir()
    (policies.folder / "bundles" / "3" / "manifest.json").write_text("{")
    assert "cannot be read" in policies.bundles()[0].problem
    for number, problem in (("2", "settings.json was changed after the export"), ("3", "cannot be read")):
        with pytest.raises(BundleError, match=problem):
            policies.activate(number, **OPS)
    with pytest.raises(UnknownBundle, match=r"no bundle '\.\./1'"):
        policies.activate("../1", **OPS)
    with pytest.raises(RefusedError, match="bundle 1 serves already"):
        policies.activate("1", **OPS)
    assert (policies.folder / "bundle").resolve().name == "1"
    assert policies.history() == ()
