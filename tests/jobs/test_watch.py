"""`value-model watch` over a log: calm on usual days, one alert where a clock is wrong, and it goes on where it was."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from benchmarks.faulty_market import FaultyDay, clock
from evaluation.monitoring.day_log import DAY
from evaluation.monitoring.watcher import WARM_UP
from jobs.cli import cli
from jobs.load_log import load
from jobs.watch import LogWatch, WatchConfig, only_watcher, read_watch_config
from marketplace.finding import DataError
from marketplace.simulator import SimulatorConfig, simulate
from marketplace.slate import table_to_slates
from marketplace.slate_columns import to_numpy
from marketplace.splits import microseconds
from marketplace.sqlite_log import SqliteLog

DAYS, WRONG = 18, 16  # of the log; the day whose events come two hours early
START = datetime(2025, 1, 6, tzinfo=UTC)
CONFIG = SimulatorConfig(requests=1500, users=200, items=200, merchants=20, days=DAYS, shown=(6, 6, 6, 6), start=START)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A service's log of DAYS days; on one of them half of the phones report events early."""
    dataset = simulate(CONFIG, np.random.default_rng(3)).dataset
    slates, feedback = dataset.slates, dataset.feedback
    time = microseconds(slates["time"])
    day = (time - time[0]) // 86_400_000_000
    theirs = slates["request_id"].filter(pa.array(day == WRONG)).combine_chunks()
    wrong = to_numpy(pa.compute.is_in(feedback["request_id"], value_set=theirs))
    start = START + timedelta(days=WRONG)
    early = clock(FaultyDay(start, slates, feedback.filter(pa.array(wrong)), 0, np.random.default_rng(0))).feedback
    path = tmp_path_factory.mktemp("watch") / "log.sqlite"
    kept = SqliteLog(path)
    for slate in table_to_slates(slates):
        kept.append(slate)
    kept.append_feedback(pa.concat_tables([feedback.filter(pa.array(~wrong)), early]))
    kept.close()
    return path


def test_a_wrong_clock_is_one_alert_and_the_next_pass_goes_on(log, tmp_path, capsys):
    before = LogWatch(tmp_path, WatchConfig(replayed=0), log=log).step(START + timedelta(days=WRONG, hours=4))
    assert [day.alerts for day in before] == [()] * WRONG
    assert [bool(day.judged) for day in before] == [number >= WARM_UP for number in range(WRONG)]
    capsys.readouterr()
    (day, after) = LogWatch(tmp_path, WatchConfig(replayed=0), log=log).step(START + timedelta(days=DAYS, hours=4))
    assert [alert.cause.name for alert in day.alerts] == ["clock"]
    assert day.alerts[0].departures[0].figure == "events.early"
    assert after.alerts == ()
    (row,) = map(json.loads, (tmp_path / "alerts.jsonl").read_text().splitlines())
    assert (row["day"], row["cause"], row["runbook"]) == ("2025-01-22", "clock", "docs/operations.md#alert-clock")
    known = {slate.request_id: slate.time for slate in table_to_slates(SqliteLog(log).slates())}
    assert {known[name].date() for name in row["request_ids"]} == {day.day.date()}
    said = capsys.readouterr().out
    assert "ALERT clock" in said
    assert said.count("\n") < 20
    assert "clock" in (tmp_path / "watch" / "2025-01-22.html").read_text()
    metrics = (tmp_path / "watch" / "metrics.prom").read_text()
    assert 'value_model_watch_alert{cause="clock"} 0.0' in metrics
    (silent,) = LogWatch(tmp_path, WatchConfig(replayed=0), log=log).step(START + timedelta(days=DAYS + 5))
    assert [alert.cause.name for alert in silent.alerts] == ["log_loss"]
    assert LogWatch(tmp_path, WatchConfig(replayed=0), log=log).step(START + timedelta(days=DAYS + 9)) == []


def test_a_day_read_from_elsewhere_is_the_day(log, tmp_path, clickhouse_address):
    addresses = f"{clickhouse_address}?database=watched", f"parquet://{tmp_path}/days"
    for address in addresses:
        load(log, address)
    start = START + timedelta(days=WRONG)
    now, config = start + timedelta(days=1, hours=3), WatchConfig(replayed=0)
    watches = [LogWatch(tmp_path, config, log=place) for place in (log, *addresses)]
    first, *others = (watched._day_log(start, now) for watched in watches)
    for day in others:
        for part in ("slates", "events"):
            assert getattr(day, part).to_pylist() == getattr(first, part).to_pylist()
        assert (day.reason == first.reason).all()
        assert day.joined.labels.equals(first.joined.labels)
        assert day.facts == first.facts
    assert len({watched._last_slate() for watched in watches}) == 1


def test_a_young_log_is_told_what_cannot_be_judged_yet(log, tmp_path):
    young = tmp_path / "log.sqlite"
    source, target = SqliteLog(log), SqliteLog(young)
    for slate in table_to_slates(source.slates(until=START + timedelta(days=2))):
        target.append(slate)
    target.close()
    with only_watcher(tmp_path):
        twice = CliRunner().invoke(cli, ["watch", str(tmp_path)])
    assert f"is watched already, by process {os.getpid()}: one watcher a folder" in str(twice.exception)
    answer = CliRunner().invoke(cli, ["watch", str(tmp_path)])
    assert answer.exit_code == 0, answer.output
    assert f"0 of the {WARM_UP} whole days" in answer.output
    assert not (tmp_path / "alerts.jsonl").exists()


def test_days_are_those_of_the_market(log, tmp_path):
    """Berlin's clocks went forward on Sunday, 30 March 2025: that day has 23 hours, and no hour counts twice."""
    watched = LogWatch(tmp_path, WatchConfig(time_zone="Europe/Berlin", replayed=0), log=log)
    first = watched._first_day()
    assert (f"{first:%Y-%m-%d %H:%M}", first.astimezone(UTC)) == ("2025-01-06 00:00", START - timedelta(hours=1))
    short = watched._day(datetime(2025, 3, 30, 12, tzinfo=UTC))
    assert (short.weekday(), ((short + DAY).astimezone(UTC) - short.astimezone(UTC))) == (6, timedelta(hours=23))
    day = watched._day_log(first + DAY, START + timedelta(days=9))
    time, whole = (microseconds(table["time"]) for table in (day.slates, SqliteLog(log).slates()))
    low, high = (int((START + timedelta(hours=hours)).timestamp() * 1e6) for hours in (23, 47))
    assert time.tolist() == whole[(whole >= low) & (whole < high)].tolist() != []


def test_settings_are_checked_and_a_folder_without_a_log_is_told(tmp_path):
    (tmp_path / "watch.toml").write_text("budget = 0.5\n")
    assert read_watch_config(None, tmp_path) == replace(WatchConfig(), budget=0.5)
    (tmp_path / "watch.toml").write_text('time_zone = "Riyadh"\n')
    with pytest.raises(DataError, match=r"watch.toml:1: error: .*'Riyadh', no time zone"):
        read_watch_config(None, tmp_path)
    (tmp_path / "watch.toml").write_text("budget = 0\nbudjet = 1\n")
    with pytest.raises(DataError, match=r"watch.toml:2: error: unknown field 'budjet'"):
        read_watch_config(None, tmp_path)
    with pytest.raises(FileNotFoundError, match="nothing was served yet"):
        LogWatch(tmp_path, WatchConfig())
