"""Publication under concurrency: a linear history, every accepted change in force, every other saver told."""

from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from multiprocessing import get_context

import numpy as np
import pytest
from desk_toy import POLICY

from desk.policy_changes import MergeConflict, PolicyChange, changes, merged, owners
from desk.publication import FolderService, PolicyTrial, RefusedError, ServedPolicy, StaleBase, publish, roll_back
from desk.versions import ChangeNote, VersionOrigin, Versions
from value_model.formula import parse_policy, to_toml

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)


def note(base, **others):
    return ChangeNote(VersionOrigin.PUBLISHED, "ranking", "Try.", base=base, **others)


def save(folder, number):
    """One person: reads what is in force, moves one of two weights, saves; brings others' changes in while it can."""
    versions = Versions(folder)
    service, rng = FolderService(versions, POLICY), np.random.default_rng(number)
    base = service.served().policy
    weight = ("w_click", "w_new")[number % 2]
    draft = base.with_weights({weight: 0.2 + number / 1000})
    while True:
        try:
            record = publish(draft, note(base.version), versions=versions, service=service, now=NOW)
            return record.version, None
        except StaleBase as stale:
            if stale.together is None or rng.random() < 0.2:
                return None, str(stale)
            base, draft = stale.in_force, stale.together


@pytest.mark.parametrize("savers", [24, pytest.param(100, marks=pytest.mark.slow)])
def test_of_many_concurrent_saves_none_is_lost_silently(tmp_path, savers):
    folder = tmp_path / "policies"
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        answers = list(pool.map(save, [folder] * savers, range(savers)))
    entries = Versions(folder).entries()
    accepted = [version for version, _ in answers if version is not None]
    assert sorted(accepted) == sorted(entry.version for entry in entries[1:])
    assert all("is in force since by ranking" in told for version, told in answers if version is None)
    assert [entry.base for entry in entries[1:]] == [entry.version for entry in entries[:-1]]
    for before, after in pairwise(entries):
        policies = [Versions(folder).policy(entry.number) for entry in (before, after)]
        assert len(changes(*policies)) == 1  # each line changes its own weight and keeps every other


def test_both_sides_changes_meet_and_the_same_change_is_no_conflict():
    theirs, ours = POLICY.with_weights({"w_new": 0.2}), POLICY.with_weights({"w_click": 2.0, "w_new": 0.2})
    assert {w.name: w.value for w in merged(POLICY, theirs, ours).weights} == {"w_click": 2.0, "w_new": 0.2}
    with pytest.raises(MergeConflict, match=r"theirs: w_new 0\.05 -> 0\.2 / yours: w_new 0\.05 -> 0\.3"):
        merged(POLICY, theirs, POLICY.with_weights({"w_new": 0.3}))


def test_parts_that_one_side_added_or_removed_are_kept_so():
    text = to_toml(POLICY)
    added = parse_policy(text + '\n[[constraints]]\nmetric = "ctr"\nat_least = 0.01\nreason = "Clicks."\n')
    renamed = parse_policy(
        text.replace('value = "w_click', 'fresh = "w_new * newness"\nvalue = "w_click').replace(
            "+ w_new * newness", "+ fresh"
        )
    )
    both = merged(POLICY, added, renamed)
    assert [e.name for e in both.expressions] == ["fresh", "value"]
    assert both.constraints == added.constraints
    assert merged(added, POLICY, added.with_weights({"w_new": 1.0})).constraints == ()


def test_changes_that_do_not_go_together_are_a_conflict():
    """They drop a weight with its term; ours changes the term."""
    text = to_toml(POLICY)
    without = parse_policy(text.replace(" + w_new * newness", "").split("\n[weights.w_new]")[0])
    reading = parse_policy(text.replace("w_new * newness", "2 * w_new * newness"))
    with pytest.raises(MergeConflict):
        merged(POLICY, without, reading)


def test_owners_answer_for_their_own_parts():
    text = to_toml(POLICY).replace(
        'owner = "ranking"\nreason = "Fresh supply."', 'owner = "supply"\nreason = "Fresh supply."'
    )
    policy = parse_policy(text)
    new = policy.with_weights({"w_click": 2.0, "w_new": 0.2})
    assert owners(policy, new) == {"ranking": ("w_click 1 -> 2",), "supply": ("w_new 0.05 -> 0.2",)}
    taken = parse_policy(text.replace('owner = "supply"', 'owner = "thief"'))
    assert owners(policy, taken) == {"supply": ("w_new owner supply -> thief",)}
    assert str(PolicyChange(("weights", "w_new"), policy.weight["w_new"], None)) == "w_new removed"


class Recorded:
    """A service in memory: what is switched to is served; `prepared` says what was made ready."""

    def __init__(self, policy):
        self.now, self.ready = ServedPolicy(policy), None

    def served(self):
        return self.now

    def prepare(self, policy):
        self.ready = policy
        return None

    def switch(self, prepared):
        self.now = self.ready


@pytest.fixture
def world(tmp_path):
    versions, service = Versions(tmp_path / "policies"), Recorded(POLICY)
    return versions, service, {"versions": versions, "service": service, "now": NOW}


def test_a_trial_is_staged_widened_ended_and_published(world):
    versions, service, both = world
    draft = POLICY.with_weights({"w_new": 0.06})
    publish(draft, note(POLICY.version, share=0.1), **both)
    assert service.now == ServedPolicy(POLICY, PolicyTrial(draft, 0.1))
    publish(draft, note(POLICY.version, share=0.4), **both)
    assert service.now.trial.share == 0.4
    ended = roll_back(None, note(""), **both)
    assert (service.now, ended.kind) == (ServedPolicy(POLICY), VersionOrigin.UNSTAGED)
    publish(draft, note(POLICY.version, share=0.4), **both)
    publish(draft, note(POLICY.version), **both)
    assert service.now == ServedPolicy(draft)
    assert versions.latest() == draft
    assert [entry.share for entry in versions.entries()] == [1, 0.1, 0.4, 1, 0.4, 1]


def test_rolling_back_goes_one_version_back_each_time(world):
    versions, service, both = world
    steps = [POLICY, *(POLICY.with_weights({"w_new": value}) for value in (0.06, 0.07))]
    for before, after in pairwise(steps):
        publish(after, note(before.version), **both)
    for policy in reversed(steps[:-1]):
        roll_back(None, note(""), **both)
        assert service.now.policy == policy
    with pytest.raises(RefusedError, match="no version before"):
        roll_back(None, note(""), **both)
    roll_back(3, note(""), **both)
    assert service.now.policy == steps[2]
    assert versions.latest() == steps[2]


def test_content_that_was_published_again_has_what_it_replaced_before_it(world):
    _, service, both = world
    draft = POLICY.with_weights({"w_new": 0.06})
    publish(draft, note(POLICY.version), **both)
    publish(POLICY, note(draft.version), **both)
    roll_back(None, note(""), **both)
    assert service.now.policy == draft


def test_what_cannot_be_prepared_leaves_no_line(world):
    versions, service, both = world

    def fail(policy):
        raise ValueError("the models do not predict it")

    service.prepare = fail
    with pytest.raises(ValueError, match="do not predict"):
        publish(POLICY.with_weights({"w_new": 0.06}), note(POLICY.version), **both)
    assert versions.entries() == ()
    assert service.now == ServedPolicy(POLICY)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5, float("nan")])
def test_shares_outside_are_refused(world, share):
    _, service, both = world
    with pytest.raises(ValueError, match="share"):
        publish(POLICY.with_weights({"w_new": 0.06}), note(POLICY.version, share=share), **both)
    assert service.now == ServedPolicy(POLICY)
