"""What the log in ClickHouse promises beyond the contract: batches, loading that goes on, views, refusals."""

import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_slates import START, make_feedback, make_slate, same_rows, slates

from jobs.cli import cli
from jobs.fingerprint import fingerprint
from jobs.load_log import load
from jobs.log_sums import report_sums
from marketplace.attribution import attribute
from marketplace.catalogue_records import CatalogueUpdate, Subject
from marketplace.clickhouse import arrival
from marketplace.clickhouse.clickhouse_log import ClickhouseLog
from marketplace.clickhouse.loading import load_files, load_log
from marketplace.clickhouse.migrations import MIGRATIONS
from marketplace.clickhouse.sums import EVENTS, SHOWN, period_sums, variant_sums
from marketplace.log import REPEATED_ORDER, DuplicateRequest, LogUnavailable, Receipt
from marketplace.open_log import open_log
from marketplace.schema import FEEDBACK, SchemaError
from marketplace.slate import slates_to_table
from marketplace.slate_columns import request_of_rows
from marketplace.sqlite_log import SqliteLog

pytestmark = pytest.mark.xdist_group("clickhouse")
QUIET = {"progress": lambda loaded: None}


@pytest.fixture
def log(clickhouse_log):
    return clickhouse_log


@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=st.lists(slates(), min_size=6, max_size=6, unique_by=lambda slate: slate.request_id))
def test_a_batch_comes_back_exactly_and_is_stored_once(log, made):
    log.connection.command("TRUNCATE TABLE slates")
    table = slates_to_table(made)
    assert log.append_slates(table.slice(0, 4)) == Receipt(4, 0)
    assert log.append_slates(pa.concat_tables([table, table.slice(0, 3)])) == Receipt(2, 7)
    assert same_rows(log.slates(), slates_to_table(sorted(made, key=lambda slate: slate.time)))
    assert log.slate(made[5].request_id) == made[5]


def test_a_batch_of_mixed_days_is_stored_a_day_at_once(log):
    """So that a follower by arrival, who may read between two insertions, passes over nothing."""
    days = [2, 0, 2, 1, 0]
    log.append_slates(slates_to_table([make_slate(f"r{n}", minutes=60 * 24 * day) for n, day in enumerate(days)]))
    rows = log.connection.rows("SELECT request_id, arrival FROM slates ORDER BY arrival")
    assert rows == [("r1", 1), ("r4", 2), ("r3", 3), ("r0", 4), ("r2", 5)]
    assert log.connection.rows("SELECT uniq(_part), uniq(_part, toDate(time)) FROM slates") == [(3, 3)]


def source_log(folder: Path) -> SqliteLog:
    """5 slates, 6 events one of which is set apart, and an item that began and changed."""
    source = SqliteLog(folder / "log.sqlite")
    for number in range(5):
        source.append(make_slate(f"r{number}", minutes=60 * 24 * number))
    events = make_feedback(*((f"f{number}", f"r{number % 5}", "click", "a", number, None) for number in range(6)))
    source.append_feedback(events, reasons=[None] * 5 + ["implausible"])
    for price in (5.0, 6.0):
        update = CatalogueUpdate("new", {"merchant_id": "m", "category": "c", "price": price})
        source.put_catalogue(Subject.ITEM, [update], known=(), time=START)
    return source


def same_log(one, other) -> bool:
    return (
        same_rows(one.slates(), other.slates())
        and same_rows(one.feedback(), other.feedback())
        and same_rows(one.quarantined(), other.quarantined())
        and one.catalogue_after(0)[0] == other.catalogue_after(0)[0]
    )


def test_a_loaded_log_is_the_log_and_loading_goes_on(log, tmp_path):
    source = source_log(tmp_path)
    assert load_log(source, log, name="one", **QUIET).slates == 5
    assert same_log(log, source)
    source.append(make_slate("later", minutes=1))
    source.append_feedback(make_feedback(("late", "later", "order", "a", 2, 9.0)), reasons=["implausible"])
    source.append_feedback(make_feedback(("more", "later", "order", "a", 2, 9.0)), order_keys=["order-1"])
    again = load_log(source, log, name="one", **QUIET)
    assert (again.slates, again.events, again.known) == (1, 1, 0)
    assert same_log(log, source)
    anew = load_log(source, log, name="the same file under another name", **QUIET)
    assert (anew.slates, anew.events, anew.known) == (0, 0, 12)
    assert same_log(log, source)
    twice = make_feedback(("again", "later", "order", "a", 3, 9.0))
    assert log.append_feedback(twice, order_keys=["order-1"]).quarantined == {REPEATED_ORDER: 1}
    other = SqliteLog(tmp_path / "new.sqlite")
    other.append(make_slate("of a new file under the first name"))
    assert load_log(other, log, name="one", **QUIET).slates == 1


def test_a_run_notices_that_its_log_has_grown(log, clickhouse_address):
    log.append(make_slate("r"))
    before = fingerprint(clickhouse_address)
    assert fingerprint(clickhouse_address) == before
    assert list(before) == [clickhouse_address]
    log.append_feedback(make_feedback(("f", "r", "click", "a", 0, None)))
    assert fingerprint(clickhouse_address) != before


def test_files_are_loaded_and_loaded_again(log, tmp_path):
    source = source_log(tmp_path)
    with pytest.raises(SchemaError, match=r"holds no slates\*\.parquet"):
        load_files(tmp_path, log, **QUIET)
    (tmp_path / "day=1").mkdir()
    pq.write_table(source.slates(), tmp_path / "day=1" / "slates-0.parquet")
    pq.write_table(source.feedback(), tmp_path / "feedback.parquet")
    assert load_files(tmp_path, log, **QUIET).items == 15
    assert load_files(tmp_path, log, **QUIET).known == 10
    assert same_rows(log.slates(), source.slates())
    assert same_rows(log.feedback(), source.feedback())


def test_of_two_writers_rows_the_first_to_arrive_counts(log):
    """What the check by ids cannot see: another writer stored the same slate between the check and the insertion."""
    twice = slates_to_table([make_slate("r")])
    for _ in range(2):
        arrival.insert(log.connection, "slates", twice)
    assert log.connection.rows("SELECT count() FROM slates") == [(2,)]
    assert len(log.slates()) == 1
    assert log.shown_after(0)[1] == 2
    log.connection.command("OPTIMIZE TABLE slates FINAL")
    assert log.connection.rows("SELECT arrival FROM slates") == [(1,)]


def test_one_row_an_item_and_one_row_an_exposure(log):
    log.append(make_slate("r", items=("a", "b"), experiment="price;look", variant="high;in_force"))
    log.append(make_slate("s", items=("c",)))
    items = log.connection.rows(
        "SELECT request_id, item_id, position, predictions['ctr'] FROM slate_items ORDER BY request_id, position"
    )
    assert items == [("r", "a", 1, 0.1), ("r", "b", 2, 0.1), ("s", "c", 1, 0.1)]
    exposures = log.connection.rows("SELECT experiment, variant, request_id FROM exposures ORDER BY experiment")
    assert exposures == [("look", "in_force", "r"), ("price", "high", "r")]


def test_what_a_service_alone_keeps_is_refused(log):
    for call in (lambda: log.append(make_slate("r"), catalogue=3), log.probe):
        with pytest.raises(ValueError, match=r"does not keep .* A service keeps it in a log of its own \(SQLite\)"):
            call()
    assert len(log.slates()) == 0


def test_a_time_that_it_cannot_hold_is_refused(log):
    slates = slates_to_table([make_slate("r"), make_slate("s", time=datetime(2400, 1, 1, tzinfo=UTC))])
    with pytest.raises(SchemaError, match=r"slates row 1: time 2400-01-01 .* outside the years 1900 to 2299"):
        log.append_slates(slates)
    assert len(log.slates()) == 0


def test_whole_days_are_dropped_and_tables_of_a_later_program_refused(clickhouse_address):
    now, address = datetime.now(UTC), f"{clickhouse_address}?database=later"
    log = ClickhouseLog(address)
    log.append(make_slate("old", time=now - timedelta(days=40)))
    log.append(make_slate("new", time=now))
    log.keep(30)
    log.connection.command("OPTIMIZE TABLE slates FINAL")
    assert log.slates()["request_id"].to_pylist() == ["new"]
    later = len(MIGRATIONS) + 1
    log.connection.command(f"INSERT INTO versions (number, schema_version) VALUES ({later}, 1)")
    log.close()
    with pytest.raises(SchemaError, match=f"tables of version {later} .* this program knows up to {len(MIGRATIONS)}"):
        open_log(address)


def test_a_folder_belongs_to_one_process_and_a_process_has_one_folder(clickhouse_address, log, tmp_path):
    opened = f"from marketplace.open_log import open_log; open_log({clickhouse_address!r})"
    second = subprocess.run([sys.executable, "-c", opened], capture_output=True, text=True, check=False)
    assert "Is it open in another process?" in second.stderr
    with pytest.raises(LogUnavailable, match="This process has another folder open already"):
        open_log(f"chdb://{tmp_path}")
    with pytest.raises(ValueError, match="names no folder: write chdb:///FOLDER"):
        open_log("chdb://runs/first/log")


def test_what_else_stands_in_an_address_is_a_setting(clickhouse_address, log):
    joint = "&" if "?" in clickhouse_address else "?"
    limited = ClickhouseLog(f"{clickhouse_address}{joint}max_memory_usage=5000000000")
    setting = "SELECT value FROM system.settings WHERE name = 'max_memory_usage'"
    assert limited.connection.rows(setting) == [("5000000000",)]
    limited.close()


def test_the_embedded_engine_groups_on_disk_what_is_large(clickhouse_address, log):
    """From a GiB on, or where the address says otherwise."""
    joint, name = "&" if "?" in clickhouse_address else "?", "max_bytes_before_external_group_by"
    small = ClickhouseLog(f"{clickhouse_address}{joint}{name}=1000000")
    groups = "SELECT max(n) FROM (SELECT number % 499999 AS place, count() AS n FROM numbers(1500000) GROUP BY place)"

    def on_disk() -> int:
        parts = small.connection.rows("SELECT value FROM system.events WHERE event = 'ExternalAggregationWritePart'")
        return sum(value for (value,) in parts)

    assert log.connection.rows(f"SELECT value FROM system.settings WHERE name = '{name}'") == [(str(2**30),)]
    before = on_disk()
    assert log.connection.rows(groups) == [(4,)]
    assert on_disk() == before
    assert small.connection.rows(groups) == [(4,)]
    assert on_disk() > before
    small.close()


def test_sums_of_days_and_variants_are_those_of_the_rows(log, clickhouse_address, capsys):
    """By Arrow from the rows, and by attribution: orders without amount, in another currency, late, of another item."""
    rng = np.random.default_rng(5)
    shown = [
        make_slate(f"r{n}", minutes=700 * n, user_id=f"u{n % 7}", position=np.array([1, 2, 0], np.int32))
        for n in range(60)
    ]
    arms = [replace(one, experiment="e;f", variant=f"{'ab'[int(one.user_id[1]) % 2]};c") for one in shown]
    slates = slates_to_table(arms)
    kinds, items, amounts = ["click", "cart", "order"], ["a", "b", "c"], [None, 5.0, 7.5]
    minutes = rng.integers(45_000, size=4000)
    draws = zip(rng.integers(62, size=4000), rng.integers(3, size=(4000, 3)), minutes, strict=True)
    events = [
        (f"f{n}", f"r{request}", kinds[kind], items[item], int(minute), amounts[amount])
        for n, (request, (kind, item, amount), minute) in enumerate(draws)
    ]
    feedback = make_feedback(*events)
    users = pa.array([f"u{int(name[1:]) % 7}" for name in feedback["request_id"].to_pylist()])
    feedback = feedback.set_column(4, FEEDBACK.field("user_id"), users.cast(FEEDBACK.field("user_id").type))
    currency = pa.array(["AED" if n % 50 == 0 else "SAR" for n in range(4000)])
    feedback = feedback.set_column(7, FEEDBACK.field("currency"), currency.cast(FEEDBACK.field("currency").type))
    log.append_slates(slates)
    log.append_feedback(feedback)

    joined = attribute(slates, feedback, as_of=START + timedelta(days=100))
    frame = joined.labels.to_pandas()[["click", "order", "order_value"]]
    request = request_of_rows(slates)
    frame["user"] = np.array([one.user_id for one in arms])[request]
    per_user = frame.groupby("user").sum()
    per_user["arm"] = ["ab"[int(name[1:]) % 2] for name in per_user.index]
    sums = variant_sums(log, "e").to_pandas().set_index("variant")
    for ours, theirs in {"clicks": "click", "orders": "order", "amount": "order_value"}.items():
        of_arm = per_user.groupby("arm")[theirs]
        np.testing.assert_allclose(sums[ours], of_arm.mean())
        np.testing.assert_allclose(sums[f"{ours}_error"], of_arm.std() / np.sqrt(of_arm.size()))
    assert per_user["order"].sum() > 20
    assert sums["requests"].sum() == 60

    shown_by, events_by = (table.to_pandas() for table in period_sums(log, by="day"))
    days = pd.Series([one.time.date() for one in arms]).value_counts().sort_index()
    assert shown_by["requests"].tolist() == days.tolist()
    assert shown_by["items"].tolist() == (3 * days).tolist()
    assert shown_by["shown"].tolist() == (2 * days).tolist()
    rows = feedback.to_pandas().astype({"event": str, "currency": str})
    by_day = rows.groupby([rows["time"].dt.floor("D"), "event", "currency"])["amount"]
    summed = events_by.set_index(["start", "event", "currency"]).sort_index()
    np.testing.assert_allclose(summed["events"], by_day.size().sort_index())
    np.testing.assert_allclose(summed["amount"].fillna(0), by_day.sum().sort_index())
    for query in (SHOWN, EVENTS):
        forced = f"EXPLAIN {query.format(period='toStartOfDay')} SETTINGS force_optimize_projection = 1"
        assert "hourly" in str(log.connection.rows(forced))

    report_sums(clickhouse_address, by="day")
    report_sums(clickhouse_address, by="day", experiment="e")
    printed = capsys.readouterr().out
    assert "2026-03-01 00:00" in printed
    assert "amount a user" in printed


def test_the_page_names_every_table_and_a_log_that_is_missing_is_told(log, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "live.md").read_text().split("## ClickHouse")[1].split("\n## ")[0]
    named = {name for line in page.splitlines() for name in re.findall(r"^\| `(\w+)`", line)}
    assert named == {name for (name,) in log.connection.rows("SHOW TABLES")}
    answer = CliRunner().invoke(cli, ["log", "sums", f"chdb://{tmp_path}/none"])
    assert "does not exist: `value-model load-log` makes it" in answer.output
    assert not (tmp_path / "none").exists()


LOADER = """
import sys
from dataclasses import replace
from pathlib import Path
from marketplace.clickhouse import loading
from marketplace.clickhouse.clickhouse_log import ClickhouseLog
from marketplace.sqlite_log import SqliteLog
loading.SLATES_AT_ONCE = loading.EVENTS_AT_ONCE = 40
target = ClickhouseLog(sys.argv[2])
loading.load_log(SqliteLog(sys.argv[1]), target, name="one", progress=lambda loaded: print(loaded, flush=True))
rows = [len(target.slates()), *target.connection.rows("SELECT count(), uniq(request_id) FROM slates")[0]]
print(*rows, *target.connection.rows("SELECT count(), uniq(feedback_id) FROM feedback")[0])
"""


@pytest.mark.slow
def test_a_loader_that_is_killed_loses_and_repeats_nothing(tmp_path):
    """Killed at another moment each time: between batches, and within them. Days make an insertion many parts."""
    source = SqliteLog(tmp_path / "log.sqlite")
    for number in range(600):
        source.append(make_slate(f"r{number}", minutes=60 * 7 * (number % 40)))
    source.append_feedback(make_feedback(*((f"f{n}", f"r{n}", "click", "a", n, None) for n in range(600))))
    source.close()
    call = [sys.executable, "-c", LOADER, str(tmp_path / "log.sqlite"), f"chdb://{tmp_path}/all"]
    rng = np.random.default_rng(0)
    for batches in range(1, 6):
        loader = subprocess.Popen(call, stdout=subprocess.PIPE)
        for _ in range(batches):
            loader.stdout.readline()
        time.sleep(rng.uniform(0, 0.2))
        loader.send_signal(signal.SIGKILL)
        loader.wait()
        loader.stdout.close()
    last = subprocess.run(call, capture_output=True, text=True, check=True)
    assert last.stdout.splitlines()[-1] == "600 600 600 600 600"


def test_a_command_loads_a_services_log(clickhouse_address, log, tmp_path, capsys):
    service = SqliteLog(tmp_path / "log.sqlite")
    service.append(make_slate("r"))
    service.append_feedback(make_feedback(("f", "r", "click", "a", 0, None)))
    load(tmp_path / "log.sqlite", clickhouse_address)
    assert "1 slates and 1 events; 3 items read" in capsys.readouterr().out
    assert same_rows(log.slates(), service.slates())
    assert log.feedback().schema.equals(FEEDBACK, check_metadata=True)
    with pytest.raises(DuplicateRequest):
        log.append(make_slate("r"))
    with pytest.raises(ValueError, match="takes no logs"):
        load(tmp_path / "log.sqlite", str(tmp_path / "other.sqlite"))
