"""Experiments in the engine: followed live, logged, replayed; whatever is wrong in the folder, answers go on."""

import gc
import weakref
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from desk.publication import ServedPolicy
from evaluation.experiments.assignment import assign
from evaluation.experiments.decisions import DecisionKind, ExperimentDecision, add_decision
from evaluation.experiments.experiment_file import parse_experiment
from evaluation.experiments.exposure import exposed_variants, variant_column
from evaluation.experiments.interleaving import TurnRule
from jobs.experiment_log import kept
from jobs.replay import bundle_folders, replay_slates
from marketplace.memory_log import MemoryLog
from marketplace.schema import FEEDBACK, LIST_ODDS, LIST_PLACE, conform, empty
from marketplace.slate import slates_to_table
from marketplace.slate_columns import numeric_features
from serving.app import create_app
from serving.bundle import build_engine, load_bundle
from serving.interleaving import interleaved_version
from serving.policy_bundle import write_policy_bundle
from serving.replay import NotReplayable, replay
from serving.request import Request
from value_model.formula import to_toml
from value_model.slate_policies.rules import MerchantCap

EXPERIMENT = """
name = "{name}"
hypothesis = "Sales are worth more."
owner = "growth"
start = {start}
days = 28
control = "in_force"
unit = "{unit}"
{further}

[layer]
name = "{layer}"
low = {low}
high = {high}

[[variants]]
name = "in_force"
share = 0.5

[[variants]]
name = "changed"
share = 0.5
{change}

[metrics]
primary = "gmv_per_user"
minimum_effect = 0.02

[ramp]
steps = [0.1, 0.5]
"""


@pytest.fixture
def world(bundle, tmp_path):
    """An engine that follows a folder at every request; `write` places an experiment in it."""
    folder = tmp_path / "experiments"
    (folder / "policies").mkdir(parents=True)
    dearer = bundle.policy.with_weights({"w_gmv": 0.5})
    (folder / "policies" / "dearer.toml").write_text(to_toml(dearer))
    at_once = replace(bundle, config=replace(bundle.config, follow_seconds=0.0))
    engine = build_engine(at_once, log=MemoryLog(), experiments=folder)

    class World:
        def __init__(self):
            self.folder, self.engine, self.dearer, self.count = folder, engine, dearer, 0
            self.start = engine.parts.known_until
            self.users = bundle.catalogue.users["user_id"].to_pylist()

        def write(self, name="sales", change='policy = "policies/dearer.toml"', **fields):
            words = {"unit": "user", "layer": "value", "low": 0.0, "high": 1.0, "further": ""}
            start = self.start.isoformat()
            text = EXPERIMENT.format(**words | {"name": name, "change": change, "start": start} | fields)
            (folder / f"{name}.toml").write_text(text)
            self.engine.follow()
            return parse_experiment(text)

        def decide(self, kind, name="sales", **fields):
            time = self.start + timedelta(hours=1)
            add_decision(folder, name, ExperimentDecision(kind, time, "test", "it loses sales", "v", **fields))
            self.engine.follow()

        def slate(self, user="u1", **fields):
            self.count += 1
            time = self.start + timedelta(seconds=self.count)
            request = replace(Request(f"r{self.count}", time, "home", user, k=5), **fields)
            return self.engine.rank(request).slate

        def faults(self):
            return self.engine.state.experiments.faults

    return World()


def test_the_variants_policy_answers_is_logged_and_replays(world, bundle):
    experiment = world.write()
    world.decide(DecisionKind.RAMP, step=1)
    expected = assign(experiment, world.users, step=1)
    seen = set()
    for user, index in zip(world.users[:16], expected, strict=False):
        slate = world.slate(user)
        variant = experiment.variants[index].name
        policy = world.dearer if variant == "changed" else bundle.policy
        assert exposed_variants(slate.experiment, slate.variant) == {"sales": variant}
        assert (slate.policy_version, slate.weights["w_gmv"]) == (policy.version, policy.weight["w_gmv"].value)
        assert replay(world.engine.parts, slate).same
        assert sum(world.engine.explain(slate).values()) == pytest.approx(slate.value)
        seen.add(variant)
    assert seen == {"in_force", "changed"}
    logged = world.engine.log.slates()
    assert set(variant_column(logged, "sales")) == seen
    read, whole = (numeric_features(slates, "newness") for slates in (kept(logged), logged))
    assert read.lengths.tolist() == whole.lengths.tolist()
    assert read.values.equals(whole.values)
    assert len(whole.values) > 0


def test_a_ramp_adds_units_and_a_stop_returns_them_to_what_is_in_force(world, bundle):
    experiment = world.write()
    first, whole = (assign(experiment, world.users, step=step) for step in (0, 1))
    early = next(user for user, index in zip(world.users, first, strict=True) if index == 1)
    late = next(u for u, a, b in zip(world.users, first, whole, strict=True) if (a, b) == (-1, 1))
    assert [world.slate(user).variant for user in (early, late)] == ["changed", None]
    world.decide(DecisionKind.RAMP, step=1)
    assert [world.slate(user).variant for user in (early, late)] == ["changed", "changed"]
    world.decide(DecisionKind.STOP, variants=("changed",))
    for slate in map(world.slate, (early, late)):
        assert (slate.experiment, slate.policy_version) == (None, bundle.policy.version)
    ready = create_app(world.engine, clock=lambda: world.start).test_client().get("/readyz").get_json()
    assert ready["experiments"]["sales"]["stopped"] == {"changed": "it loses sales"}
    assert ready["experiments"]["sales"]["shares"] == {"in_force": 0.0, "changed": 0.0}


def test_several_experiments_answer_one_request(world, bundle):
    recipes = (bundle.folder / "surfaces.toml").read_text()
    assert recipes.count("[home]") == 1
    (world.folder / "policies" / "fewer.toml").write_text(recipes.replace("[home]", "[home]\nmost = 30\nleast = 10"))
    world.write()
    world.write("candidates", 'surfaces = "policies/fewer.toml"', layer="retrieval")
    world.write("colours", "", layer="page", unit="session", further='surfaces = ["home"]')
    for name in ("sales", "candidates", "colours"):
        world.decide(DecisionKind.RAMP, name, step=1)
    assert world.faults() == {}
    seen = set()
    for number, user in enumerate(world.users[:24]):
        slate = world.slate(user, session_id=f"s{number}")
        variants = exposed_variants(slate.experiment, slate.variant)
        assert list(variants) == ["candidates", "colours", "sales"]
        assert (slate.policy_version == world.dearer.version) == (variants["sales"] == "changed")
        fewer = variants["candidates"] == "changed"
        assert (slate.versions["surfaces"] != bundle.recipes.version) == fewer
        seen.add(tuple(variants.values()))
    assert len(seen) >= 6
    (world.folder.parent / "bundle").symlink_to(bundle.folder)
    slates, folders = world.engine.log.slates(), bundle_folders(world.folder.parent)
    changed = (variant_column(slates, "sales") == "changed") & (variant_column(slates, "candidates") == "changed")
    report = replay_slates(slates.filter(pa.array(changed)), empty(FEEDBACK), folders=folders, experiments=world.folder)
    assert report.same == report.slates > 0
    request = Request("without", world.start, "home", "u1", k=5)
    ranking = world.engine.rank(request)
    assert ranking.without_unit == ("colours",)
    client = create_app(world.engine, clock=lambda: world.start).test_client()
    answer = client.post("/v1/recommend", json={"surface": "home", "user_id": "u1", "k": 5, "session_id": "s"})
    assert set(answer.get_json()["experiments"]) == {"candidates", "colours", "sales"}
    client.post("/v1/recommend", json={"surface": "home", "user_id": "u1", "k": 5})
    metrics = client.get("/metrics").text
    assert 'value_model_experiment_requests_total{experiment="colours",variant="no unit"} 1.0' in metrics
    assert 'value_model_experiment_share{experiment="sales",variant="changed"} 0.5' in metrics


def test_an_interleaved_variant_mixes_two_policies_and_replays(world, bundle):
    for rule in TurnRule:
        experiment = world.write(change=f'policy = "policies/dearer.toml"\ninterleave = "{rule}"')
        world.decide(DecisionKind.RAMP, step=1)
        assert world.faults() == {}
        assigned = assign(experiment, world.users, step=1)
        mixed = [user for user, index in zip(world.users, assigned, strict=True) if index == 1]
        slates = [world.slate(user) for user in mixed[:4] for _ in range(2)]
        assert len({tuple(slate.position) for slate in slates}) > 2
        for slate in slates:
            lists = [name for name in slate.numeric if name.startswith(LIST_PLACE)]
            place = np.stack([slate.numeric[name] for name in lists], axis=1)
            odds = np.concatenate([slate.numeric[f"{LIST_ODDS}{number}"] for number in range(len(lists))])
            assert odds.sum() == pytest.approx(1)
            assert len(lists) == (10 if rule is TurnRule.OPTIMISED else 4)
            alike = (place == slate.position[:, None]).all(axis=0)
            assert np.nanprod(slate.propensity) == pytest.approx(odds[alike].sum(), rel=1e-5)
            first = place[:, 0] > 0  # the policy in force: by its values alone
            assert slate.value[first].min() >= slate.value[~first].max()
            version = interleaved_version(bundle.policy.version, world.dearer.version, rule)
            assert (slate.policy_version, slate.weights["w_gmv"]) == (version, bundle.policy.weight["w_gmv"].value)
            assert sum(world.engine.explain(slate).values()) == pytest.approx(slate.value)
            assert replay(world.engine.parts, slate).same
    (world.folder.parent / "bundle").symlink_to(bundle.folder)
    folders, last = bundle_folders(world.folder.parent), slates_to_table(slates)
    report = replay_slates(last, world.engine.log.feedback(), folders=folders, experiments=world.folder)
    assert report.same == len(slates)


def test_a_variant_answers_from_another_bundle_beside_that_in_force(world, bundle, tmp_path):
    bundles, waiting = tmp_path / "bundles", []
    for name, policy in (("1", bundle.policy), ("2", world.dearer)):
        write_policy_bundle(bundle.folder, ServedPolicy(policy), bundles / name)
    (tmp_path / "bundle").symlink_to(bundles / "1")

    def loaded(folder, **options):
        one = load_bundle(folder)
        at_once = replace(one, config=replace(one.config, follow_seconds=0.0))
        return build_engine(at_once, log=world.engine.log, variants=loaded, **options)

    (world.folder / "policies").rename(tmp_path / "policies")  # what begins with nothing waits for nothing later
    world.engine = loaded(bundles / "1", experiments=world.folder)
    world.engine.experiments.bundles.run = waiting.append
    (tmp_path / "policies").rename(world.folder / "policies")
    world.write("none", 'bundle = "3"', low=0.5)
    experiment = world.write(change='bundle = "2"', high=0.5)
    world.decide(DecisionKind.RAMP, step=1)
    assert all("is being loaded" in fault for fault in world.faults().values())
    assert world.slate().experiment is None  # nobody waits for it
    for load in waiting:
        load()
    world.engine.follow()
    assert list(world.faults()) == ["none.toml"]
    assert "bundles/3 is not a bundle" in world.faults()["none.toml"]
    assert len(waiting) == 2  # what was refused is not tried again
    world.write("beside", 'policy = "policies/dearer.toml"', layer="apart")
    assert "answers from another bundle" in world.faults()["beside.toml"]
    other, seen = world.engine.experiments.engines[0], set()
    for user, index in zip(world.users[:16], assign(experiment, world.users[:16], step=1), strict=True):
        slate, variant = world.slate(user), (None, *(one.name for one in experiment.variants))[index + 1]
        answering = other if variant == "changed" else world.engine
        assert (slate.variant, slate.versions) == (variant, answering.parts.versions)
        assert sum(world.engine.explain(slate).values()) == pytest.approx(slate.value)
        assert (replay(answering.parts, slate).same, not replayed_by(world.engine, slate)) == (True, answering is other)
        seen.add(variant)
    assert seen == {None, "in_force", "changed"}
    item = slate.item_id[slate.position == 1][0]
    event = {"request_id": slate.request_id, "item_id": item, "user_id": user, "event": "click", "feedback_id": "c"}
    event |= {"time": slate.time + timedelta(seconds=1)}
    world.engine.record(conform(pa.Table.from_pylist([event]), FEEDBACK, where="test"))
    row = world.engine.parts.item_table.row[item]
    other.read_log()
    later = Request("later", event["time"] + timedelta(seconds=1), "home", user)
    assert [e.store.lookup(later, np.empty(0, np.int32)).touched()[-1] for e in (world.engine, other)] == [row, row]
    report = replay_slates(
        world.engine.log.slates(), empty(FEEDBACK), folders=bundle_folders(tmp_path), experiments=world.folder
    )
    assert report.same == report.slates == 17
    for name in ("none", "beside"):
        (world.folder / f"{name}.toml").unlink()
    world.decide(DecisionKind.STOP, variants=("changed",))
    assert (world.engine.experiments.engines, world.slate(user).variant) == ([], None)
    point = world.write("itself", change='bundle = "1"', layer="third", further='surfaces = ["search"]')
    waiting[-1]()
    world.engine.follow()
    assert "has the parts of the one in force" in world.faults()[f"{point.name}.toml"]


def replayed_by(engine, slate):
    """Whether an engine's bundle answered a slate."""
    try:
        return replay(engine.parts, slate).same
    except NotReplayable:
        return False


def test_policies_whose_slates_cannot_share_a_list_are_not_interleaved(world, bundle):
    capped = replace(bundle.policy, slate=replace(bundle.policy.slate, rules=(MerchantCap(2),)))
    (world.folder / "policies" / "capped.toml").write_text(to_toml(capped))
    world.write("capped", 'policy = "policies/capped.toml"\ninterleave = "team_draft"')
    assert "has other rules of the slate" in world.faults()["capped.toml"]
    assert world.slate().experiment is None


def test_what_is_wrong_in_the_folder_breaks_no_answer_and_the_last_good_state_stays(world, bundle):
    world.write()
    world.decide(DecisionKind.RAMP, step=1)
    experiment = parse_experiment((world.folder / "sales.toml").read_text())
    user = next(u for u, i in zip(world.users, assign(experiment, world.users, step=1), strict=True) if i == 1)

    (world.folder / "policies" / "dearer.toml").write_text("name = ")
    world.write("twice", low=0.5)
    world.write("unfed", 'policy = "policies/none.toml"', layer="elsewhere", further='surfaces = ["search"]')
    (world.folder / "torn.toml").write_text('name = "torn')
    world.engine.follow()
    faults = world.faults()
    assert "dearer.toml" in faults["sales.toml"]
    assert "overlaps with 0 to 1 of 'sales'" in faults["twice.toml"]
    assert "change the policy of a request" in faults["unfed.toml"]
    assert "not TOML" in faults["torn.toml"]
    assert world.slate(user).policy_version == world.dearer.version

    (world.folder / "sales.toml").write_text("name = ")
    world.engine.follow()
    assert world.slate(user).variant == "changed"
    client = create_app(world.engine).test_client()
    ready = client.get("/readyz")
    assert (ready.status_code, set(ready.get_json()["experiment_faults"])) == (200, set(faults))
    assert f"value_model_experiment_faults {len(faults):.1f}" in client.get("/metrics").text
    world.decide(DecisionKind.STOP, variants=("changed",))
    assert world.slate(user).variant is None

    for file in world.folder.glob("*.toml"):
        file.unlink()
    world.engine.follow()
    assert (world.faults(), world.engine.state.experiments.experiments) == ({}, ())


def test_a_policy_under_which_trial_requests_fail_is_not_served(world, bundle):
    endless = to_toml(bundle.policy).replace("w_click * ctr", "w_click * ctr / ((ctr - ctr) / ctr)", 1)
    (world.folder / "policies" / "endless.toml").write_text(endless)
    world.write("endless", 'policy = "policies/endless.toml"')
    assert "not finite" in world.faults()["endless.toml"]
    assert world.slate().experiment is None


def test_an_unforeseen_failure_of_one_experiment_keeps_no_other_from_being_stopped(world, monkeypatch):
    experiment = world.write()
    world.decide(DecisionKind.RAMP, step=1)
    user = next(u for u, i in zip(world.users, assign(experiment, world.users, step=1), strict=True) if i == 1)

    def broken(file, before=None):
        raise RuntimeError(f"no room for {file.name}")

    monkeypatch.setattr("serving.live_experiments.variant_policy", broken)
    world.write("other", change='policy = "default"', layer="apart", further='surfaces = ["search"]')
    world.write("sales", further='surfaces = ["home"]')
    assert "no room" in world.faults()["other.toml"]
    assert world.slate(user).variant == "changed"
    world.decide(DecisionKind.STOP, variants=("changed",))
    assert world.slate(user).variant is None

    monkeypatch.setattr("serving.live_experiments.read_folder", broken)
    world.write("fourth")
    assert "RuntimeError" in world.faults()[str(world.folder)]
    assert world.slate(user).variant is None
    monkeypatch.undo()
    world.engine.follow()
    assert str(world.folder) not in world.faults()


def test_an_experiment_runs_from_its_start_to_its_end(world):
    experiment = world.write()
    world.decide(DecisionKind.RAMP, step=1)
    before, last, after = (
        world.slate(time=time)
        for time in (experiment.start - timedelta(seconds=1), experiment.end - timedelta(seconds=1), experiment.end)
    )
    assert (before.experiment, last.experiment, after.experiment) == (None, "sales", None)


def test_no_experiment_changes_policies_beside_a_staged_one(bundle, world):
    world.write()
    manifest = replace(bundle.manifest, facts={**bundle.manifest.facts, "staged_share": 0.3})
    staged = replace(bundle, manifest=manifest, staged=world.dearer)
    engine = build_engine(staged, log=MemoryLog(), experiments=world.folder)
    assert "is staged to a share" in engine.state.experiments.faults["sales.toml"]


def test_an_engine_goes_with_its_last_reference_and_with_it_all_that_it_held(world, bundle):
    """Without a search for cycles, which would make private what the workers of a machine share."""
    world.write()
    gc.disable()
    try:
        engine = build_engine(bundle, log=MemoryLog(), experiments=world.folder, variants=lambda folder: world.engine)
        engine.rank(Request("r", world.start + timedelta(seconds=1), "home", "u1", k=5))
        assert engine.state.experiments.experiments
        held = [engine, engine.store, engine.store.catalogue, engine.live, engine.experiments, engine.parts]
        held += [engine.parts.item_table, engine.parts.candidate_generator, engine.parts.scorer, engine.parts.valuation]
        kept = [type(one).__name__ for one in held]
        references = list(map(weakref.ref, held))
        del engine, held
        assert [name for name, one in zip(kept, references, strict=True) if one() is not None] == []
    finally:
        gc.enable()
