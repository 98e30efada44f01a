"""The durable log among locks, moved files, full disks and damaged rows."""

import logging
import shutil
import sqlite3
import time
from collections import deque
from datetime import timedelta

import pytest
from made_slates import START, make_feedback, make_slate

from marketplace.log import LogUnavailable
from marketplace.schema import SchemaError
from marketplace.sqlite_log import SqliteLog

SHORT = timedelta(seconds=0.2)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.sqlite"


@pytest.fixture
def log(path):
    made = SqliteLog(path, patience=SHORT)
    made.append(make_slate("r1"))
    made.append_feedback(make_feedback(("f1", "r1", "click", "a", 0, None)))
    yield made
    made.close()


def spoil(path, statement, *values):
    with sqlite3.connect(path, timeout=5) as connection:
        connection.execute(statement, values)
    connection.close()


def test_a_log_that_another_process_writes_to_can_be_opened_and_read(log, path):
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    reader = SqliteLog(path, patience=timedelta(seconds=20))
    assert reader.slate("r1") == make_slate("r1")
    reader.close()
    writer.close()


def test_a_lock_is_waited_for_no_longer_than_said_and_nothing_is_stored(log, path):
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    for call in (
        lambda: log.append(make_slate("r2")),
        lambda: log.append_feedback(make_feedback(("f2", "r1", "click", "a", 0, None))),
        log.probe,
    ):
        with pytest.raises(LogUnavailable, match=r"log.sqlite cannot be used: database is locked.*try again"):
            call()
    assert time.monotonic() - began < 10
    writer.execute("ROLLBACK")
    writer.close()
    log.probe()
    assert log.slates()["request_id"].to_pylist() == ["r1"]
    log.append(make_slate("r2"))


def test_the_file_of_closed_logs_alone_holds_everything(log, path, tmp_path):
    other = SqliteLog(path)
    other.append(make_slate("r2"))
    log.append(make_slate("r3"))
    log.close()
    other.close()
    shutil.copy(path, tmp_path / "copy.sqlite")
    copy = SqliteLog(tmp_path / "copy.sqlite")
    assert copy.slates()["request_id"].to_pylist() == ["r1", "r2", "r3"]
    copy.close()


def test_a_backup_is_whole_while_the_log_is_open_and_overwrites_nothing(log, tmp_path):
    log.backup(tmp_path / "backup.sqlite")
    log.append(make_slate("later"))
    backup = SqliteLog(tmp_path / "backup.sqlite")
    assert backup.slates()["request_id"].to_pylist() == ["r1"]
    assert backup.feedback()["feedback_id"].to_pylist() == ["f1"]
    files = list(tmp_path.glob("*.sqlite*"))
    assert len(files) >= 4  # the log and its WAL, the backup and its own
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}, "they hold what shoppers did"
    backup.close()
    with pytest.raises(SchemaError, match="exists already"):
        log.backup(tmp_path / "backup.sqlite")
    assert sorted(file.name for file in tmp_path.glob(".*")) == []


@pytest.mark.parametrize("fate", ["deleted", "moved", "replaced"])
def test_a_log_that_is_no_longer_there_is_not_written_to(log, path, tmp_path, fate):
    if fate == "deleted":
        path.unlink()
    else:
        path.rename(tmp_path / "moved.sqlite")
    if fate == "replaced":
        SqliteLog(path).close()
    for call in (lambda: log.append(make_slate("r2")), lambda: log.slate("r1"), log.probe):
        with pytest.raises(LogUnavailable, match="was deleted, moved or replaced"):
            call()
    if fate == "moved":
        (tmp_path / "moved.sqlite").rename(path)
        log.append(make_slate("r2"))
        assert log.slates()["request_id"].to_pylist() == ["r1", "r2"]


def test_a_full_disk_is_said_and_what_was_acknowledged_is_kept(log):
    with log._file.connection() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
    more = (make_slate(f"more {number}") for number in range(100))
    with pytest.raises(LogUnavailable, match=r"full.*Make room"):
        deque(map(log.append, more))
    with pytest.raises(LogUnavailable, match="full"):
        log.append_feedback(make_feedback(*[(f"more {i}", "r1", "click", "a", 0, None) for i in range(1000)]))
    assert log.feedback()["feedback_id"].to_pylist() == ["f1"]
    with log._file.connection() as connection:
        connection.execute("PRAGMA max_page_count = 100000")
    log.append(make_slate("r2"))


def test_a_disk_that_has_room_for_less_than_a_slate_is_full(log, tmp_path):
    SqliteLog(tmp_path / "empty.sqlite").probe()
    log.probe()
    with log._file.connection() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        free = connection.execute("PRAGMA freelist_count").fetchone()[0]
        held = [(str(i), "x" * 4000) for i in range(free)]
        connection.executemany("INSERT INTO about VALUES (?, ?)", held)
        connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    for _ in range(2):
        with pytest.raises(LogUnavailable, match="full"):
            log.probe()
    with log._file.connection() as connection:
        connection.execute("PRAGMA max_page_count = 100000")
    log.probe()


@pytest.mark.parametrize(
    ("column", "value"),
    [("body", b"\x10\x00\x00\x00nonsense"), ("body", b""), ("body", "text"), ("request_id", "another's")],
)
def test_a_damaged_slate_is_named_set_apart_and_passed(log, path, column, value, caplog):
    log.append(make_slate("r2"))
    log.append(make_slate("r3"))
    spoil(path, f"UPDATE slates SET {column} = ? WHERE request_id = 'r2'", value)
    name = value if column == "request_id" else "r2"
    with caplog.at_level(logging.ERROR):
        shown, mark = log.shown_after(0)
        assert len(shown) == 2
        assert mark == 3
        assert log.slates()["request_id"].to_pylist() == ["r1", "r3"]
    assert caplog.text.count("is damaged and passed over") == 1
    assert f"row 2 of slates ({name!r})" in caplog.text
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT source, arrival, name FROM damaged").fetchall() == [("slates", 2, name)]
        assert connection.execute("SELECT count(*) FROM slates").fetchone() == (3,)
    with pytest.raises(SchemaError, match="is damaged"):
        log.slate(name)


@pytest.mark.parametrize(
    ("column", "value"), [("time", 2**62), ("time", "noon"), ("amount", "ten"), ("user_id", b"\xff")]
)
def test_a_damaged_event_is_named_set_apart_and_passed(log, path, column, value):
    log.append_feedback(make_feedback(*[(name, "r1", "click", "a", 0, None) for name in ("f2", "f3")]))
    spoil(path, f"UPDATE feedback SET {column} = ? WHERE feedback_id = 'f2'", value)
    events, mark = log.feedback_after(0)
    assert events["feedback_id"].to_pylist() == ["f1", "f3"]
    assert mark == 3
    assert set(log.feedback()["feedback_id"].to_pylist()) == {"f1", "f3"}
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT source, arrival, name FROM damaged").fetchall() == [("feedback", 2, "f2")]


def test_rows_of_before_the_period_are_passed_once(path):
    log = SqliteLog(path)
    for number in range(5):
        log.append(make_slate(f"old{number}", minutes=-number - 1))
        log.append_feedback(make_feedback((f"old{number}", None, "click", "a", -number - 1, None)))
    assert log.shown_after(0, since=START)[1] == 5
    assert log.feedback_after(0, since=START)[1] == 5
    log.append(make_slate("new"))
    log.append(make_slate("older", minutes=-9))
    shown, mark = log.shown_after(5, since=START)
    assert (len(shown), mark) == (1, 7)
    log.close()
