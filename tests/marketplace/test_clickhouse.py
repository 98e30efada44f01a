"""What the log in ClickHouse promises beyond the contract: batches, loading that goes on, views, refusals."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_slates import START, make_feedback, make_slate, same_rows, slates

from jobs.load_log import load
from marketplace.catalogue_records import CatalogueUpdate, Subject
from marketplace.clickhouse import arrival
from marketplace.clickhouse.clickhouse_log import ClickhouseLog
from marketplace.clickhouse.loading import load_files, load_log
from marketplace.clickhouse.migrations import MIGRATIONS
from marketplace.log import REPEATED_ORDER, DuplicateRequest, LogUnavailable, Receipt
from marketplace.open_log import open_log
from marketplace.schema import FEEDBACK, SchemaError
from marketplace.slate import slates_to_table
from marketplace.sqlite_log import SqliteLog

pytestmark = pytest.mark.xdist_group("clickhouse")
QUIET = {"progress": lambda loaded: None}


@pytest.fixture
def log(clickhouse_log):
    return clickhouse_log


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=st.lists(slates(), min_size=6, max_size=6, unique_by=lambda slate: slate.request_id))
def test_a_batch_comes_back_exactly_and_is_stored_once(log, made):
    log.connection.command("TRUNCATE TABLE slates")
    table = slates_to_table(made)
    assert log.append_slates(table.slice(0, 4)) == Receipt(4, 0)
    assert log.append_slates(pa.concat_tables([table, table.slice(0, 3)])) == Receipt(2, 7)
    assert same_rows(log.slates(), slates_to_table(sorted(made, key=lambda slate: slate.time)))
    assert log.slate(made[5].request_id) == made[5]


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
    with pytest.raises(SchemaError, match="lies outside the years 1900 to 2299"):
        log.append(make_slate("r", time=datetime(2400, 1, 1, tzinfo=UTC)))


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


def test_a_command_loads_a_services_log(clickhouse_address, log, tmp_path, capsys):
    service = SqliteLog(tmp_path / "log.sqlite")
    service.append(make_slate("r"))
    service.append_feedback(make_feedback(("f", "r", "click", "a", 0, None)))
    load(tmp_path / "log.sqlite", clickhouse_address)
    assert "1 slates of 3 items and 1 events" in capsys.readouterr().out
    assert same_rows(log.slates(), service.slates())
    assert log.feedback().schema.equals(FEEDBACK, check_metadata=True)
    with pytest.raises(DuplicateRequest):
        log.append(make_slate("r"))
    with pytest.raises(ValueError, match="is not kept in ClickHouse"):
        load(tmp_path / "log.sqlite", str(tmp_path / "other.sqlite"))
