"""`features backfill` and `features sql`: a log's features of old requests, as a run then reads them."""

import pytest
from click.testing import CliRunner
from feature_frames import assert_same_features

from features.backfill import backfill
from features.served import served
from jobs.cli import cli
from jobs.config import RunConfig
from jobs.data import kept, logged
from jobs.defaults import spec_of
from jobs.load_log import load


def test_a_log_in_clickhouse_gets_its_features_and_a_run_reads_them(run_folder, clickhouse_address, tmp_path):
    address, days = f"{clickhouse_address}?database=backfill&run={run_folder}", tmp_path / "days"
    load(run_folder / "data", address)
    asked = ["features", "backfill", address, "--feature", "item_shoppers", "--to", str(days)]
    answer = CliRunner().invoke(cli, asked)
    assert answer.exit_code == 0, answer.output
    assert "read into memory" not in answer.output
    dataset, came = kept(run_folder), logged(f"parquet://{days}?run={run_folder}")
    assert (len(came.slates), len(came.feedback)) == (len(dataset.slates), len(dataset.feedback))
    spec = spec_of(came, RunConfig(features=("item_shoppers",)))
    assert set(came.slates["feature_spec_version"].to_pylist()) == {spec.version}
    ours, theirs = served(came.slates, spec), backfill(dataset, came.slates, spec=spec)
    assert_same_features(ours, theirs, spec)


def test_a_log_that_is_a_file_is_refused(run_folder, tmp_path):
    log = tmp_path / "log.sqlite"
    log.touch()
    asked = ["features", "backfill", str(log), "--run", str(run_folder), "--to", str(tmp_path / "days")]
    assert "not kept in ClickHouse" in str(CliRunner().invoke(cli, asked).exception)


@pytest.mark.parametrize(
    ("dialect", "source"), [("clickhouse", "FROM slates FINAL"), ("bigquery", "FROM market.slates")]
)
def test_the_queries_are_printed(dialect, source):
    asked = ["features", "sql", "--dialect", dialect, "--tables", "market"]
    answer = CliRunner().invoke(cli, asked)
    assert answer.exit_code == 0
    assert source in answer.output
    assert "-- counts, by item: impressions, clicks, orders, carts" in answer.output
    assert "-- alike_lists: no SQL, as lists are compared" in answer.output
    assert ("-- distinct_shoppers: no SQL, as its hash" in answer.output) == (dialect == "bigquery")
    one = CliRunner().invoke(cli, [*asked, "--statistic", "popularity"])
    assert one.output.count("\n-- ") == 0
    assert "there is no statistic 'nothing'" in str(
        CliRunner().invoke(cli, [*asked, "--statistic", "nothing"]).exception
    )
