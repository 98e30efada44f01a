"""Learning from a service's log as it grows: when a generation is due, what it learns, what ships, what stays."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.log import make_slates
from jobs import learn as trainer
from jobs.data import kept, market
from jobs.earlier_run import with_earlier_days
from jobs.generation import Generations, ShipVerdict, generation_periods, ship
from jobs.learn import FurtherSlates, learn
from jobs.publish import policies_in_force
from jobs.run_folder import RunFolder
from jobs.tune_generation import tune_generation
from marketplace.schema import FEEDBACK, conform
from marketplace.sqlite_log import SqliteLog
from serving.bundle import build_engine, load_bundle
from serving.following import Follower
from serving.request import Request
from serving.store_checkpoint import StoreCheckpoint
from value_model.formula import to_toml

pytestmark = pytest.mark.xdist_group("run")

# In the place of a training: the first generation is the run itself, the second fails.
STUB = """
import json, pathlib, shutil, sys
home, number = pathlib.Path(sys.argv[1]), sys.argv[3]
if number == "2":
    sys.exit("no good")
folder = home / "generations" / number
shutil.copy(home / "run.json", folder)
shutil.copytree(home / "ranker", folder / "ranker")
(folder / "bundle").symlink_to(home / "bundles" / "1")
verdict = {"shipped": True, "reason": "better", "known_until": "2030-01-01T00:00:00+00:00", "bundle": "1"}
(folder / "verdict.json").write_text(json.dumps(verdict))
"""


@pytest.fixture
def home(run_folder, tmp_path) -> Path:
    """The run's bundle and settings, which the trainer reads before it starts anything."""
    folder = tmp_path / "home"
    shutil.copytree(
        run_folder, folder, symlinks=True, ignore=shutil.ignore_patterns("data", "evaluation", "tensorboard")
    )
    return folder


def test_a_generation_is_due_when_the_log_holds_enough_more(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "FEWEST", 3)
    log, slates = SqliteLog(tmp_path / "log.sqlite"), make_slates(4)
    known = slates[0].time
    for slate, after in zip(slates, (-5, 0, 23.9, 24), strict=True):
        log.append(replace(slate, time=known + timedelta(hours=after)))
        further = FurtherSlates(log, known)
        further.read()
        assert further.due(timedelta(hours=24)) == (after == 24)
    further.read()  # nothing is counted twice
    assert (further.count, further.newest) == (3, known + timedelta(hours=24))
    log.close()


def test_of_what_is_not_learned_half_is_learned_and_the_rest_judges():
    config = generation_periods(1000, 400)
    assert config.test_share * 1000 == pytest.approx(0.2 * 400)
    assert config.validation_share * (1000 - 80) == pytest.approx(0.3 * 400, rel=1e-4)


def test_verdicts_stay_and_what_was_refused_does_not_serve(home, monkeypatch, capsys):
    monkeypatch.setattr(trainer, "TRAIN", STUB)
    log = SqliteLog(home / "log.sqlite")
    assert learn(home, log=home / "log.sqlite", every=timedelta(hours=1), keep=2, once=True) == 1
    assert "holds nothing after" in capsys.readouterr().out
    for number, slate in enumerate(make_slates(2)):
        log.append(replace(slate, time=datetime(2031 + number, 1, 1, tzinfo=UTC)))
        code = learn(home, log=home / "log.sqlite", every=timedelta(hours=1), keep=2, once=True)
        assert code == number
    log.close()
    generations = Generations(home)
    assert [verdict.shipped for _, verdict in generations.verdicts] == [False, True]
    assert generations.in_force.path == home / "generations" / "1"
    assert "refused, what serves goes on; no good" in capsys.readouterr().out
    assert generations.next == 3


def test_old_generations_go_but_for_what_is_in_force_or_tried(home):
    generations = Generations(home)
    for number, shipped in enumerate((True, True, False, False), 1):
        generations.close(number, ShipVerdict(shipped, "", "", str(10 + number) if shipped else ""))
        (home / "bundles" / str(10 + number)).mkdir()
    shutil.copy(home / "run.json", generations.folder(2))
    for number in (1, 2):
        (generations.folder(number) / "bundle").symlink_to(home / "bundles" / "1")
    generations.prune(keep=1)
    assert generations.numbers == [2, 4]
    assert sorted(int(path.name) for path in (home / "bundles").iterdir()) == [1, 12, 13, 14]


def test_a_log_stands_behind_the_earlier_days(run_folder):
    before = kept(run_folder)
    again = replace(before, slates=before.slates.slice(700), feedback=before.feedback.slice(4000), closed=False)
    moved = replace(again, items=before.items.slice(0, 10), notes=("the log",), mapped_features=("device",))
    both = with_earlier_days(moved, RunFolder.open(run_folder))
    assert both.slates.equals(before.slates.unify_dictionaries())
    assert both.feedback["feedback_id"].to_pylist() == before.feedback["feedback_id"].to_pylist()
    assert len(both.items) == 10
    assert not both.closed
    assert both.mapped_features == ("device",)


class ReadEvents:
    """In the place of a feature store."""

    def __init__(self):
        self.names, self.restored = [], False

    def restore(self, path):
        self.restored = True

    def update(self, events):
        self.names += events["feedback_id"].to_pylist()

    def show(self, slates):
        pass


def test_a_shipped_store_reads_each_event_once_however_late_it_came(home):
    """What the trainer's copy holds is in the bundle; what came meanwhile, even of earlier times, is read behind it."""
    bundle, log = load_bundle(home / "bundle"), SqliteLog(home / "log.sqlite")
    time = datetime.fromisoformat(str(bundle.manifest.facts["known_until"])) + timedelta(hours=1)
    engine, user = build_engine(bundle, log=log), bundle.catalogue.users["user_id"][0].as_py()
    slate = engine.rank(Request(request_id="r", time=time, surface="home", user_id=user, k=5)).slate
    engine.record(event(slate, name="first", after=timedelta(minutes=2)))
    log.backup(home / "copy.sqlite")
    engine.record(event(slate, name="late", after=timedelta(minutes=1)))
    place = home / "bundles" / ship(home, home / "bundle", home / "copy.sqlite", home / "log.sqlite")
    assert (home / "bundle").resolve() == place
    store, checkpoint = ReadEvents(), StoreCheckpoint(home / "log.sqlite", bundle=load_bundle(place).store_version)
    Follower(log, store, since=time + timedelta(minutes=2), every=0.0, checkpoint=checkpoint).follow()
    assert store.restored
    assert store.names == ["late"]
    log.close()


def event(slate, *, name: str, after: timedelta) -> pa.Table:
    row = {"feedback_id": name, "request_id": slate.request_id, "event": "click", "time": slate.time + after}
    row |= {"user_id": slate.user_id, "item_id": slate.item_id[0]}
    return conform(pa.Table.from_pylist([row]), FEEDBACK, where="made events")


def test_what_is_tuned_is_staged_and_moves_the_weights_of_one_owner_alone(home, monkeypatch):
    """In the place of the search: one weight of each owner's is raised."""
    policies, folder = policies_in_force(home), home / "generations" / "1"
    before = policies.served().policy
    moved, searched = before.weights[0], []
    other = next(weight.owner for weight in before.weights if weight.owner != moved.owner)

    def tune(folder, *, weights, **options):
        searched.append(weights)
        proposed = before.with_weights({moved.name: moved.high})
        (folder / "tuning").mkdir(parents=True, exist_ok=True)
        (folder / "tuning" / "policy.toml").write_text(to_toml(proposed))
        return 0

    monkeypatch.setattr("jobs.tune_generation.tune", tune)
    assert "there are those of finance" in tune_generation(home, folder, maximise="gmv", owner="nobody")
    assert "they must agree first" in tune_generation(home, folder, maximise="gmv", owner=other)
    assert policies.served().trial is None
    assert "is staged to 10% of the shoppers" in tune_generation(home, folder, maximise="gmv", owner=moved.owner)
    served = policies.served()
    assert served.policy.version == before.version
    assert served.trial.share == 0.1
    assert served.trial.policy.weight[moved.name].value == moved.high
    assert set(searched[1].split(",")) == {weight.name for weight in before.weights if weight.owner == moved.owner}
    assert "is on trial" in tune_generation(home, folder, maximise="gmv", owner=moved.owner)
    assert len(searched) == 2


@pytest.mark.slow
def test_it_learns_from_the_log_of_the_service_and_ships(run_folder, tmp_path):
    """The real thing: requests after the run's days, answered by its bundle; the next bundle goes on from it."""
    home = tmp_path / "home"
    shutil.copytree(run_folder, home, symlinks=True)
    simulation, rng = market("small", seed=7), np.random.default_rng(0)
    log = SqliteLog(home / "log.sqlite")
    engine = build_engine(load_bundle(home / "bundle"), log=log)
    requests = simulation.draw_requests(rng, count=700, window=(56, 59))
    table = simulation.request_table(requests)
    for row in table.to_pylist():
        fields = {name: row[name] for name in ("request_id", "time", "surface", "user_id", "session_id", "query")}
        pages = {name: row[name] for name in ("page_merchant_id", "page_item_id")}
        engine.rank(Request(**fields, **pages, context=dict(row["context"]), k=10))
    engine.record(simulation.draw_feedback(requests, simulation.ranked_items(log.slates(), table["request_id"]), rng))
    assert learn(home, log=home / "log.sqlite", every=timedelta(hours=24), keep=2, once=True) in (0, 1)
    generations = Generations(home)
    ((number, verdict),) = generations.verdicts
    assert (number, verdict.reason[:9]) == (1, "objective"), verdict
    learned = kept(generations.folder(1))
    assert len(learned.slates) == len(kept(run_folder).slates) + len(log.slates())
    assert json.loads((generations.folder(1) / "run.json").read_text())["config"]["start"] == str(home)
    assert verdict.shipped == ((home / "bundle").resolve() != home / "bundles" / "1")
    log.close()
