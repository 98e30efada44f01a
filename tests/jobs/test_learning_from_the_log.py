"""The loop closes: a run learns from the log of a service that explores, and its weights are tuned on that."""

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from desk.publication import ServedPolicy
from jobs.cli import cli
from jobs.config import RunConfig, VarietyConfig
from jobs.data import kept, logged, market
from jobs.load_log import load
from jobs.open_desk import material_of
from jobs.prepare import prepare
from jobs.run import data as data_stage
from jobs.run import run_all
from jobs.run_evidence import run_evidence
from jobs.run_folder import RunFolder
from jobs.train_ranker import train_ranker
from marketplace.attribution import attribute
from marketplace.catalogue_records import CatalogueUpdate, Subject
from marketplace.heads import learned_heads
from marketplace.parquet.days import write_days
from marketplace.settled import settled_requests
from marketplace.slate_columns import flat, numeric_features, request_of_rows
from marketplace.sqlite_log import SqliteLog
from retrieval.config import RetrievalConfig
from retrieval.labelled_requests import features_of
from serving.bundle import build_engine, load_bundle
from serving.bundle_service import BundleService
from serving.request import Request
from value_model.formula import default_policy, load_policy, parse_policy, to_toml
from value_model.rankers.batches import request_offsets, take
from value_model.rankers.config import NetworkConfig, TrainingConfig, TreesConfig
from value_model.rankers.row_files import data_of
from value_model.tuning import evidence_from_log
from value_model.tuning.recorded_evidence import exploration_of

pytestmark = pytest.mark.xdist_group("run")

REQUESTS, SHOWN = 300, 10
LUCE = '\n[slate]\nexploration = { kind = "plackett_luce", temperature = 0.1 }\n'
NAMES = ("request_id", "time", "surface", "user_id", "session_id", "query", "page_merchant_id", "page_item_id")


@pytest.fixture(scope="module")
def explored(run_folder, tmp_path_factory) -> Path:
    """The run with a second bundle, whose policy explores."""
    folder = tmp_path_factory.mktemp("explored")
    shutil.copytree(run_folder, folder, symlinks=True, dirs_exist_ok=True)
    service, policy = BundleService.of(folder), parse_policy(to_toml(replace(default_policy(), slate=None)) + LUCE)
    service.switch(service.prepare(ServedPolicy(policy)))
    return folder


def test_a_published_policy_makes_the_next_bundle_and_points_to_it(explored):
    assert (explored / "bundles" / "1").exists()
    assert (explored / "bundle").resolve() == explored / "bundles" / "2"


def move_catalogue(engine, time):
    """Every price up by a tenth, every third margin, half the commissions, an item hidden, one begun without stock."""
    items, merchants = engine.live._bundled.items.to_pylist(), engine.live._bundled.merchants.to_pylist()
    moved = [
        CatalogueUpdate(item["item_id"], {"price": item["price"] * 1.1} | ({} if place % 3 else {"margin": 0.9}), 1)
        for place, item in enumerate(items)
    ]
    begun = {"merchant_id": "m", "category": "tea", "price": 3.0, "in_stock": False}
    further = [CatalogueUpdate(items[0]["item_id"], {"hidden": True}, 2), CatalogueUpdate("begun", begun, 1)]
    engine.put_catalogue(Subject.ITEM, [*moved, *further], time=time)
    halved = [CatalogueUpdate(m["merchant_id"], {"commission_rate": m["commission_rate"] / 2}, 1) for m in merchants]
    engine.put_catalogue(Subject.MERCHANT, halved, time=time)


@pytest.fixture(scope="module")
def log_path(explored):
    """A service's log of fresh requests of the simulated market, with what its shoppers then did.

    The catalogue moves before the last tenth of the requests, within what a run judges itself on.
    """
    path = explored / "served.sqlite"
    simulation = market("small", seed=7)
    rng = np.random.default_rng(0)
    requests = simulation.draw_requests(rng, count=2 * REQUESTS, window=(56, 63))
    anywhere = np.flatnonzero(requests.page_merchant < 0)[:REQUESTS]  # a merchant may have nothing to sell
    requests = requests.take(anywhere)
    table = simulation.request_table(requests)
    log = SqliteLog(path)
    engine = build_engine(load_bundle(explored / "bundle"), log=log)
    for number, row in enumerate(table.to_pylist()):
        if number == REQUESTS * 9 // 10:
            move_catalogue(engine, row["time"])
        engine.rank(Request(**{name: row[name] for name in NAMES}, context=dict(row["context"]), k=SHOWN))
    ranked = simulation.ranked_items(log.slates(), table["request_id"])
    engine.record(simulation.draw_feedback(requests, ranked, rng, prefix="t"))
    log.close()
    return path


def test_the_log_is_a_data_set_over_the_bundles_catalogue(run_folder, log_path, clickhouse_address):
    dataset, run = logged(log_path), f"run={log_path.parent}"
    for address in (f"{clickhouse_address}?database=learned&{run}", f"parquet://{log_path.parent}/days?{run}"):
        load(log_path, address)
        elsewhere = logged(address)
        for table in ("slates", "feedback", "items", "merchants"):
            assert repr(getattr(elsewhere, table).to_pylist()) == repr(
                getattr(dataset, table).to_pylist()
            )  # NaN is NaN
    assert len(dataset.slates) == REQUESTS
    assert dataset.has_impressions
    earlier, items = kept(run_folder).items, {row["item_id"]: row for row in dataset.items.to_pylist()}
    assert len(items) == len(earlier) + 1
    assert items["begun"]["price"] == 3.0
    assert all(items[row["item_id"]]["price"] == pytest.approx(row["price"] * 1.1) for row in earlier.to_pylist())


def test_a_policy_is_tried_on_the_newest_part_of_a_log(log_path, explored, tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.open_desk.MOST_READ", REQUESTS // 2)
    shutil.copy(log_path, tmp_path / "log.sqlite")
    (tmp_path / "bundle").symlink_to(explored / "bundles" / "2")
    material = material_of(tmp_path)
    assert 0 < len(material.whole.slates) <= REQUESTS // 2
    assert "was read from 2025-" in material.notes[-1]


def nothing_is_computed_again(dataset, slates, *, spec):
    raise AssertionError


def test_features_are_those_that_were_served(log_path, run_folder):
    dataset = logged(log_path)
    spec = load_bundle(run_folder / "bundle").encoder.spec
    frame = features_of(dataset, dataset.slates, spec, backfilled=nothing_is_computed_again)
    served = numeric_features(dataset.slates, "popularity").values
    np.testing.assert_array_equal(frame.columns["popularity"], served)


@pytest.fixture(scope="module")
def learned(log_path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("learned") / "run"
    return run_all(
        RunConfig(
            data=str(log_path),
            retrieval=RetrievalConfig(epochs=1),
            ranker=NetworkConfig(expert_units=(32, 16), examination="ipw"),
            training=TrainingConfig(epochs=1),
            trees=TreesConfig(trees=20),
            variety=VarietyConfig(40),
        ),
        folder,
    ).path


@pytest.mark.slow
def test_a_run_trains_on_the_log(log_path, learned):
    assert load_bundle(learned / "bundle").manifest.facts["items"] == len(logged(log_path).items)


@pytest.mark.slow
def test_a_run_values_each_slate_by_the_catalogue_of_its_time(log_path, learned):
    """Prices, merchants' rates and what the policy read of them are as served, before and after the catalogue moved."""
    judged, log = pq.read_table(learned / "evaluation" / "slates.parquet"), logged(log_path).slates
    place = {name: row for row, name in enumerate(log["request_id"].to_pylist())}
    as_served = log.take([place[name] for name in judged["request_id"].to_pylist()])
    np.testing.assert_array_equal(flat(judged, "price"), flat(as_served, "price"))
    then, served = (numeric_features(table, "commission_rate").values.to_numpy() for table in (judged, as_served))
    np.testing.assert_array_equal(then, served)
    merchants = kept(learned).merchants
    today = dict(zip(*(merchants[name].to_pylist() for name in ("merchant_id", "commission_rate")), strict=True))
    rate = np.array([today[name] for name in flat(judged, "merchant_id").to_pylist()], np.float32)
    moved = np.array([place[name] >= REQUESTS * 9 // 10 for name in judged["request_id"].to_pylist()])
    after = moved[request_of_rows(judged)]
    assert 0 < after.sum() < len(after)
    np.testing.assert_allclose(then, np.where(after, rate, 2 * rate), rtol=1e-5)


@pytest.mark.slow
def test_its_evidence_is_that_of_the_policy_that_was_served(log_path, learned):
    """The run's own policy does not explore: the design is that of the bundle beside the log."""
    recorded = run_evidence(learned, rng=np.random.default_rng(0))
    assert exploration_of(recorded.policy) is None
    assert "was randomised" in recorded.notes[0]
    evidence = recorded.evidence
    assert evidence.feedback["click"].sum() > 0
    # Against the one who knows all: the logged slates, the policy that served them, the same examination.
    served = load_bundle(log_path.parent / "bundle").policy
    log = logged(log_path).slates
    rows = [log["request_id"].to_pylist().index(name) for name in recorded.slates["request_id"].to_pylist()]
    curves = {
        name: np.max(evidence.examination[evidence.slates.surface == name], axis=0) for name in evidence.slates.surfaces
    }
    oracle = evidence_from_log(
        log.take(rows), recorded.labels, served, examination=curves, rng=np.random.default_rng(1)
    ).exposure
    shown = evidence.position > 0
    np.testing.assert_allclose(evidence.exposure.sum(axis=1), oracle.sum(axis=1))
    assert np.corrcoef(evidence.exposure[shown], oracle[shown])[0, 1] > 0.99
    assert ((evidence.exposure > 0) & ~shown).any()


@pytest.mark.slow
def test_too_small_a_log_is_not_promised_from(learned, tmp_path):
    before = {path: path.read_bytes() for path in learned.rglob("*") if path.is_file()}
    result = CliRunner().invoke(cli, ["tune", str(learned), "--trials", "16", "--out", str(tmp_path)])
    assert result.exit_code == 1, result.output
    assert "The log was randomised" in result.output
    assert "Nothing is promised: keep today's weights." in result.output
    assert not (tmp_path / "policy.toml").exists()
    assert before == {path: path.read_bytes() for path in learned.rglob("*") if path.is_file()}


def test_a_log_with_too_little_is_refused(run_folder):
    path = run_folder / "empty.sqlite"
    SqliteLog(path).close()
    with pytest.raises(ValueError, match="holds 0 slates; a run needs 100 or more"):
        logged(path)


def test_a_policy_is_judged_on_the_log_itself(explored, log_path, tmp_path):
    """Exposure is that of the policy that served it, read off the propensities."""
    policy = load_policy(explored / "bundle" / "policy.toml")
    (tmp_path / "mine.toml").write_text(to_toml(policy.with_weights({"w_click": 1.0})))
    options = ["--json", str(tmp_path / "figures.json"), "--out", str(tmp_path / "page.html")]
    result = CliRunner().invoke(cli, ["evaluate-policy", str(log_path), str(tmp_path / "mine.toml"), *options])
    assert result.exit_code == 0, result.output
    judged = json.loads((tmp_path / "figures.json").read_text())
    assert judged["in_force"]["version"] == policy.version
    dataset = logged(log_path)
    settled = settled_requests(attribute(dataset.slates, dataset.feedback), dataset.feedback)
    # The newest may have orders to come; returns are not waited for.
    old_enough = np.logical_and.reduce([rows for event, rows in settled.items() if event != "return"])
    assert judged["parts"]["everywhere"]["requests"] == old_enough.sum() > 0.9 * REQUESTS
    assert judged["diagnostics"]["randomised"]
    assert judged["diagnostics"]["mean weight"]["low"] < 1.2
    clicks = judged["parts"]["everywhere"]["metrics"]["ctr"]
    assert clicks["proposed"]["value"] != clicks["in_force"]["value"]


@pytest.mark.slow
def test_exporting_again_makes_the_next_bundle_and_points_to_it(explored):
    result = CliRunner().invoke(cli, ["export", str(explored)])
    assert result.exit_code == 0, result.output
    assert (explored / "bundle").resolve() == explored / "bundles" / "3"


def cells(data, requests):
    """Every column of a ranker's rows, by name, in order of the requests' ids."""
    order = np.argsort(requests["request_id"].to_pylist())
    rows = take(data, order, offsets=request_offsets(data.inputs.request, len(order)))
    still_open = {"so far " + name: one.recorded for name, one in rows.open.items()}
    still_open |= {"come " + name: one.come for name, one in rows.open.items()}
    return vars(rows.inputs) | rows.labels | still_open | {"position": rows.position, "weight": rows.weight}


@pytest.mark.slow
@pytest.mark.skipif(find_spec("pyspark") is None, reason="pyspark is not installed (pip install value-model[spark])")
@pytest.mark.skipif(shutil.which("java") is None, reason="java is not installed (openjdk-17-jre-headless)")
def test_spark_writes_the_rows_that_the_ranker_learns_and_the_network_streams_them(log_path, tmp_path, capfd):
    days, log = tmp_path / "days", SqliteLog(log_path)
    until = max(log.slates()["time"].to_pylist()) + timedelta(hours=12)  # the newest requests may still be ordered from
    write_days(log.slates(), days, "slates", part="1")
    write_days(log.feedback(until=until), days, "feedback", part="1")
    training = TrainingConfig(epochs=1, open_windows="elapsed")
    place = f"parquet://{days}?run={log_path.parent}"
    shapes = {"ranker": NetworkConfig(expert_units=(16, 8)), "trees": TreesConfig(trees=5)}
    config = RunConfig(data=place, training=training, **shapes)
    run = RunFolder.create(tmp_path / "run", config)
    data_stage(run)
    shutil.copy(log_path.parent / "retrieval" / "encoder.json", run.part("retrieval"))
    answer = CliRunner().invoke(cli, ["spark", "training-rows", str(run.path), str(days), "--master", "local[2]"])
    assert answer.exit_code == 0, answer.output + repr(answer.exception)
    expected = prepare(run)
    about = json.loads((run.path / "training_rows" / "training_rows.json").read_text())
    assert about["labels"] == list(expected.data.labels)
    assert about["validation_from"] == expected.period.validation_from
    assert about["test_from"] == expected.period.test_from
    files = sorted((run.path / "training_rows").rglob("*.parquet"))
    assert len(files) > 3
    table = pa.concat_tables([pq.ParquetFile(file).read() for file in files])
    ours, theirs = cells(data_of(table), table), cells(expected.data, expected.slates)
    assert {name for name in theirs if name.startswith("come ")}
    for name, values in theirs.items():
        np.testing.assert_array_equal(ours[name], values, err_msg=name)
    train_ranker(run)
    assert "network: streams" in capfd.readouterr().out
    assert set(run.heads) == {head.name for head in learned_heads(about["labels"])}
