"""A service's log is replayed through the bundles beside it: the same bits, and no skew that is not there."""

import json
import shutil
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from features.interactions import KINDS
from jobs.cli import cli
from jobs.data import kept
from jobs.feature_size import store_sizes
from jobs.load_log import load
from marketplace.schema import FEEDBACK, conform
from marketplace.slate import table_to_slates
from marketplace.sqlite_log import SqliteLog
from serving.bundle import build_engine, load_bundle
from serving.request import Request

pytestmark = pytest.mark.xdist_group("run")

REQUESTS, USERS = 12, 3


@pytest.fixture(scope="module")
def home(run_folder, tmp_path_factory):
    """A folder with a bundle and the log of a service on it: every user clicks what was shown first."""
    folder = tmp_path_factory.mktemp("replay")
    shutil.copytree((run_folder / "bundle").resolve(), folder / "bundle")
    bundle, log = load_bundle(folder / "bundle"), SqliteLog(folder / "log.sqlite")
    bundle = replace(bundle, config=replace(bundle.config, follow_seconds=0.0))
    engine = build_engine(bundle, log=log)
    users = bundle.catalogue.users["user_id"].to_pylist()[:USERS]
    for number in range(REQUESTS):
        time = engine.parts.known_until + timedelta(minutes=number)
        request = Request(f"r{number}", time, "home", users[number % USERS], k=5, context={"country": "SA"})
        slate = engine.rank(request).slate
        top = slate.item_id[slate.position == 1][0]
        engine.record(click(f"c{number}", slate, top))
    log.close()
    return folder


def click(feedback_id, slate, item):
    row = {"feedback_id": feedback_id, "request_id": slate.request_id, "event": "click", "item_id": item}
    times = {"time": slate.time + timedelta(seconds=30), "user_id": slate.user_id}
    return conform(pa.Table.from_pylist([row | times]), FEEDBACK, where="test")


def replayed(log, *options):
    out = log.with_suffix(".json")
    result = CliRunner().invoke(cli, ["replay", str(log), "--json", str(out), *options])
    assert result.exit_code in (0, 1), result.output
    return result, json.loads(out.read_text())


def copied(home, log, *, change):
    """A log beside the first, with `change` made to each of its slates."""
    source, target = SqliteLog(home / "log.sqlite"), SqliteLog(log)
    for slate in table_to_slates(source.slates()):
        target.append(change(slate))
    target.append_feedback(source.feedback())
    source.close()
    target.close()
    return log


def test_a_log_in_clickhouse_is_replayed_and_joined_as_the_services(home, tmp_path, clickhouse_address):
    address = f"{clickhouse_address}?database=replayed&run={home}"
    load(home / "log.sqlite", address)
    reports, rows = [], []
    for number, place in enumerate((str(home / "log.sqlite"), address)):
        out, joined = tmp_path / f"{number}.json", tmp_path / f"{number}.parquet"
        assert CliRunner().invoke(cli, ["replay", place, "--json", str(out)]).exit_code == 0
        assert CliRunner().invoke(cli, ["join-feedback", place, "--out", str(joined)]).exit_code == 0
        reports.append(json.loads(out.read_text()))
        rows.append(pq.read_table(joined))
    assert reports[0] == reports[1]
    assert rows[0].to_pandas().equals(rows[1].to_pandas())
    assert reports[1]["same"] == REQUESTS


def test_every_slate_replays_and_no_feature_is_skewed(home):
    result, report = replayed(home / "log.sqlite")
    assert result.exit_code == 0
    assert f"{REQUESTS} of {REQUESTS} slates replayed to the same bits" in result.output
    assert (report["slates"], report["same"], report["differing"]) == (REQUESTS, REQUESTS, {})
    assert report["skew"]["pair_clicks"]["values"] > 0
    assert {
        name for name, part in report["skew"].items() if part["mismatched"] + part["missing"] + part["extra"]
    } == set()


def checked(source, *options):
    out = source.parent / "check.json"
    result = CliRunner().invoke(cli, ["features", "check", str(source), "--json", str(out), *options])
    assert result.exit_code in (0, 1), result.output
    return result, json.loads(out.read_text())


def test_features_computed_again_are_those_of_the_log_in_the_online_form_and_in_the_batch_form(home, run_folder):
    """The batch form reads the run's data, which the service's folder does not have."""
    (home / "data").unlink(missing_ok=True)
    for form in ("store", "batch"):
        if form == "batch":
            (home / "data").symlink_to(run_folder / "data")
        result, report = checked(home)
        assert result.exit_code == 0, result.output
        assert f"{form} " in report["form"]
        assert report["checked"] == REQUESTS
        assert report["features"]["pair_clicks"]["values"] > 0
        for part in report["features"].values():
            assert (part["mismatched"], part["missing"], part["extra"], part["largest"]) == (0, 0, 0, 0.0)


def test_the_budget_of_state_counts_what_the_log_taught(home, run_folder):
    """Everybody who acted has one row of counts; of shown lists one time each is kept, of a month."""
    log = SqliteLog(home / "log.sqlite")
    sizes = {(size.statistic, size.memory): size for size in store_sizes(home, log)}
    acted = set(log.feedback()["user_id"].to_pylist())
    log.close()
    known = kept(run_folder).feedback
    acted |= set(known.filter(pc.is_in(known["event"], pa.array(KINDS)))["user_id"].to_pylist())
    lists, counts = sizes["shown_items", "lists"], sizes["user_counts", "users"]
    assert (counts.keys, counts.rows, counts.bytes) == (len(acted), len(acted), 32 * len(acted))
    assert lists.bytes == 8 * lists.rows > 0
    assert (lists.entity, lists.expiry) == ("user", "30 d")
    result = CliRunner().invoke(cli, ["features", "size", str(home)])
    assert result.exit_code == 0
    assert f"{sum(size.bytes for size in sizes.values()):,} bytes in all" in result.output


def altered(slate):
    if slate.request_id != "r5":
        return slate
    values = slate.numeric["popularity"].copy()
    values[2] += 40.0
    values[3] = np.nan
    return replace(slate, numeric={**slate.numeric, "popularity": values})


def test_a_feature_that_was_altered_in_the_log_is_found(home):
    log = copied(home, home / "altered.sqlite", change=altered)
    result, report = checked(log)
    assert result.exit_code == 1
    part = report["features"]["popularity"]
    assert (part["mismatched"], part["missing"], part["extra"]) == (1, 1, 0)
    assert part["largest"] == pytest.approx(40.0, rel=1e-4)
    assert [name for name, one in report["features"].items() if one["mismatched"] or one["missing"]] == ["popularity"]
    result, report = replayed(log)
    assert result.exit_code == 1
    assert set(report["differing"]) == {"r5"}
    assert any(column.startswith("predictions.") for column in report["differing"]["r5"])
    skew = report["skew"]["popularity"]
    assert (skew["mismatched"], skew["missing"], skew["extra"]) == (1, 1, 0)
    assert skew["largest"] == skew["mean_difference"] == pytest.approx(40.0, rel=1e-4)
    assert "r5 differs in" in result.output
    assert "popularity" in result.output


def test_a_slate_whose_bundle_is_gone_is_counted_and_named(home):
    def change(slate):
        return replace(slate, ranker_version="gone") if slate.request_id == "r1" else slate

    result, report = replayed(copied(home, home / "gone.sqlite", change=change))
    assert result.exit_code == 0
    assert report["same"] == REQUESTS - 1
    assert [(row["slates"], row["versions"]["ranker"]) for row in report["without_bundle"]] == [(1, "gone")]
    assert "1 slates without their bundle" in result.output
    assert "ranker gone" in result.output


def test_the_bundles_may_lie_elsewhere(home, tmp_path):
    log = copied(home, tmp_path / "log.sqlite", change=lambda slate: slate)
    without, alone = replayed(log)
    within, report = replayed(log, "--run", str(home))
    assert (alone["same"], report["same"]) == (0, REQUESTS)
    assert (without.exit_code, within.exit_code) == (1, 0)
    assert "--run names the folder" in without.output
