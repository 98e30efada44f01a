"""A service's log is replayed through the bundles beside it: the same bits, and no skew that is not there."""

import json
import shutil
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from jobs.cli import cli
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


def test_every_slate_replays_and_no_feature_is_skewed(home):
    result, report = replayed(home / "log.sqlite")
    assert result.exit_code == 0
    assert f"{REQUESTS} of {REQUESTS} slates replayed to the same bits" in result.output
    assert (report["slates"], report["same"], report["differing"]) == (REQUESTS, REQUESTS, {})
    assert report["skew"]["pair_clicks"]["values"] > 0
    assert {
        name for name, part in report["skew"].items() if part["mismatched"] + part["missing"] + part["extra"]
    } == set()


def test_a_feature_that_was_altered_in_the_log_is_found(home):
    def change(slate):
        if slate.request_id != "r5":
            return slate
        altered = slate.numeric["popularity"].copy()
        altered[2] += 40.0
        altered[3] = np.nan
        return replace(slate, numeric={**slate.numeric, "popularity": altered})

    result, report = replayed(copied(home, home / "altered.sqlite", change=change))
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
    _, alone = replayed(log)
    _, report = replayed(log, "--run", str(home))
    assert (alone["same"], report["same"]) == (0, REQUESTS)
