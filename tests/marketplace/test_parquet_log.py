"""The log as Parquet files by day: the same log, whatever was killed, loaded again or written by others."""

import json
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from made_slates import START, make_feedback, make_slate, same_rows

from jobs.cli import cli
from jobs.load_log import load
from marketplace.catalogue_records import CatalogueUpdate, Subject
from marketplace.log import UnknownRequest
from marketplace.open_log import open_log
from marketplace.parquet import compaction, days, loading
from marketplace.parquet.bigquery import schema_of
from marketplace.schema import SLATE, SchemaError
from marketplace.sqlite_log import SqliteLog

QUIET = {"progress": lambda loaded: None}


@pytest.fixture
def service(tmp_path):
    """30 slates and 40 events of ten days, some late, one set apart, and an item that changed."""
    log = SqliteLog(tmp_path / "log.sqlite")
    for n in range(30):
        log.append(make_slate(f"r{n}", minutes=481 * ((7 * n) % 30), user_id=f"u{n % 5}"))
    events = (
        (f"f{n}", f"r{n % 31}", ["click", "order", "return"][n % 3], "a", 481 * ((7 * n) % 30) + 9000 * (n % 2), None)
        for n in range(40)
    )
    log.append_feedback(make_feedback(*events), reasons=["implausible", *[None] * 39])
    for price in (5.0, 6.0):
        log.put_catalogue(Subject.ITEM, [CatalogueUpdate("a", {"price": price})], known={"a"}, time=START)
    yield log
    log.close()


@pytest.fixture
def address(tmp_path):
    return f"parquet://{tmp_path}/days of a log"


def same_log(one, other) -> bool:
    return (
        same_rows(one.slates(), other.slates())
        and same_rows(one.feedback(), other.feedback())
        and same_rows(one.quarantined(), other.quarantined())
        and one.catalogue_after(0)[0] == other.catalogue_after(0)[0]
    )


def test_what_is_loaded_is_the_log_and_readers_find_their_part_of_it(service, address):
    log = open_log(address)
    loaded = loading.load_log(service, log.folder, name="one", **QUIET)
    assert (loaded.slates, loaded.items, loaded.events) == (30, 90, 39)
    assert same_log(log, service)
    since, until = START + timedelta(days=2, minutes=17), START + timedelta(days=4)
    for read in ("slates", "feedback"):
        ours, theirs = (getattr(one, read)(since=since, until=until) for one in (log, service))
        assert 0 < len(ours) < 20
        assert same_rows(ours, theirs)
    names = ["r3", "nowhere", "r29"]
    assert set(log.slates_of(names)["user_id"].to_pylist()) == {"u3", "u4"}
    assert log.slate("r7") == service.slate("r7")
    with pytest.raises(UnknownRequest):
        log.slate("nowhere")
    mark, followed = 0, []
    while (part := log.shown_after(mark, most=7, columns=["request_id"]))[1] != mark:
        followed, mark = followed + part[0]["request_id"].to_pylist(), part[1]
    assert sorted(followed) == sorted(service.slates()["request_id"].to_pylist())


@pytest.mark.parametrize("whole", [1, 12, 31])
def test_a_loader_that_is_killed_loses_and_repeats_nothing(service, address, whole, monkeypatch):
    """Killed after so many files; then more arrives, and it is begun again."""
    monkeypatch.setattr(loading, "SLATES_AT_ONCE", 8)
    monkeypatch.setattr(loading, "EVENTS_AT_ONCE", 25)
    log, left = open_log(address), whole

    def killed(rows, target, write=days.write_whole):
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        write(rows, target)

    with monkeypatch.context() as patch:
        patch.setattr(days, "write_whole", killed)
        with pytest.raises(KeyboardInterrupt):
            loading.load_log(service, log.folder, name="one", **QUIET)
    service.append(make_slate("later", minutes=3))
    loading.load_log(service, log.folder, name="one", **QUIET)
    rows = [len(days.read_files(days.day_files(log.folder, table), table)) for table in ("slates", "feedback")]
    assert rows == [31, 39]
    assert same_log(log, service)
    assert loading.load_log(service, log.folder, name="one", **QUIET) == loading.Loaded()


def test_another_log_of_the_same_name_is_added_and_what_stands_twice_counts_once(service, address, tmp_path):
    log = open_log(address)
    loading.load_log(service, log.folder, name="one", **QUIET)
    other = SqliteLog(tmp_path / "new.sqlite")
    other.append(make_slate("of a new file under the first name"))
    loading.load_log(other, log.folder, name="one", **QUIET)
    loading.load_log(service, log.folder, name="again under another name", **QUIET)
    assert len(log.slates()) == 31
    assert same_rows(log.feedback(), service.feedback())
    assert log.catalogue_after(0)[0] == service.catalogue_after(0)[0]
    assert len(log.shown_after(0)[0]) == 31
    assert len(log.feedback_after(0)[0]) == 39


def test_the_commands_that_take_a_log_take_its_days(service, address, tmp_path):
    load(tmp_path / "log.sqlite", address)
    joined = [
        CliRunner().invoke(cli, ["join-feedback", str(log), "--out", f"{tmp_path}/{n}.parquet"])
        for n, log in enumerate((tmp_path / "log.sqlite", address))
    ]
    assert [one.exit_code for one in joined] == [0, 0]
    assert joined[0].output.replace("0.parquet", "") == joined[1].output.replace("1.parquet", "")
    rows = [pq.read_table(tmp_path / f"{n}.parquet") for n in (0, 1)]
    assert repr(rows[0].to_pylist()) == repr(rows[1].to_pylist())


def test_wrong_addresses_files_and_writers_are_told(service, address, tmp_path):
    log = open_log(address)
    for call in (lambda: log.append(make_slate("r")), log.probe):
        with pytest.raises(ValueError, match="is written by `value-model load-log` alone"):
            call()
    with pytest.raises(ValueError, match="names no folder: write parquet:///FOLDER"):
        open_log("parquet://days")
    with pytest.raises(ValueError, match="--keep is for ClickHouse"):
        load(tmp_path / "log.sqlite", address, keep=3)
    with pytest.raises(ValueError, match="is a folder of files already: load the logs that they came from"):
        load(tmp_path, address)
    with loading.alone(log.folder), pytest.raises(ValueError, match="another process loads into"):
        loading.load_log(service, log.folder, name="one", **QUIET)
    strange = log.folder / "slates" / "day=2026-03-01" / "slates-of-others.parquet"
    strange.parent.mkdir(parents=True)
    pq.write_table(pa.table({"request_id": ["r"], "colour": ["red"]}), strange)
    with pytest.raises(SchemaError, match=r"slates-of-others.parquet: column 'time' is missing"):
        log.slates()
    strange.write_bytes(b"no file")
    with pytest.raises(SchemaError, match=r"slates-of-others.parquet cannot be read as Parquet"):
        log.slates()


def test_bigquery_is_told_every_column_of_the_contract(tmp_path):
    answer = CliRunner().invoke(cli, ["log", "schema", "--out", str(tmp_path), "--from", "gs://shop/log"])
    assert answer.exit_code == 0, answer.output
    columns = {column["name"]: column for column in json.loads((tmp_path / "slates.json").read_text())}
    assert list(columns) == [*SLATE.names, "day"]
    assert columns["time"] | {"description": ""} == {
        "name": "time",
        "type": "TIMESTAMP",
        "mode": "REQUIRED",
        "description": "",
    }
    assert columns["session_id"]["mode"] == "NULLABLE"
    assert (columns["price"]["type"], columns["price"]["mode"]) == ("FLOAT", "REPEATED")
    (entries,) = columns["predictions"]["fields"]
    assert [(part["name"], part["type"], part["mode"]) for part in entries["fields"]] == [
        ("key", "STRING", "REQUIRED"),
        ("value", "FLOAT", "REPEATED"),
    ]
    assert schema_of("quarantine")[-2]["name"] == "reason"
    commands = (tmp_path / "load.sh").read_text()
    assert "gs://shop/log/slates/{day:DATE}" in commands
    assert commands.count("bq load") == 3


def test_a_compacted_day_holds_each_row_once_whatever_was_killed(service, address, monkeypatch):
    log = open_log(address)
    for name in ("one", "the same under another name"):
        loading.load_log(service, log.folder, name=name, **QUIET)
    days_of_log = compaction.loose_days(log.folder)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda file, missing_ok=False: None)  # killed before the old files went
        for table, day in days_of_log:
            compaction.compact_day(log.folder, table, day)
    assert same_log(log, service)
    monkeypatch.setitem(compaction.ROWS_A_FILE, "slates", 2)
    done = [compaction.compact_day(log.folder, table, day) for table, day in days_of_log]
    assert sum(one.repeats for one in done) == 2 * (30 + 39)
    assert sum(one.after for one in done) == len(days.day_files(log.folder, "slates")) + len(
        days.day_files(log.folder, "feedback")
    )
    assert len(days.read_files(days.day_files(log.folder, "slates"), "slates")) == 30
    assert same_log(log, service)
