"""One contract, run by every log; then what only the durable one promises."""

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_slates import START, feedback_tables, few, make_feedback, make_slate, same_rows, slates

from marketplace.log import SHOWN, DuplicateRequest, Receipt, UnknownRequest
from marketplace.memory_log import MemoryLog
from marketplace.schema import FEEDBACK, SLATE, SchemaError, empty
from marketplace.slate import slates_to_table
from marketplace.sqlite_log import SqliteLog

EMBEDDED = pytest.param("clickhouse", marks=pytest.mark.xdist_group("clickhouse"))
every_example = pytest.mark.parametrize("make_log", ["memory", "sqlite"], indirect=True)  # see test_clickhouse.py


@pytest.fixture(params=["memory", "sqlite", EMBEDDED])
def make_log(request, tmp_path):
    """Makes a new, empty log at each call."""
    made = []

    def make():
        if request.param == "clickhouse":
            return request.getfixturevalue("clickhouse_log")
        made.append(MemoryLog() if request.param == "memory" else SqliteLog(tmp_path / f"log{len(made)}.db"))
        return made[-1]

    yield make
    for log in made:
        log.close()


@pytest.fixture
def log(make_log):
    return make_log()


@every_example
@few
@given(made=st.lists(slates(), max_size=3, unique_by=lambda slate: slate.request_id))
def test_slates_come_back_exactly(make_log, made):
    log = make_log()
    for slate in made:
        log.append(slate)
    assert [log.slate(slate.request_id) for slate in made] == made
    assert same_rows(log.slates(), slates_to_table(sorted(made, key=lambda slate: slate.time)))


@every_example
@few
@given(table=feedback_tables)
def test_feedback_comes_back_exactly_once(make_log, table):
    log = make_log()
    fit = [amount is None or 0 <= amount < float("inf") for amount in table["amount"].to_pylist()]
    table = table.filter(pa.array(fit, pa.bool_()))
    first: dict = {}
    for row in table.to_pylist():
        first.setdefault(row["feedback_id"], row | {"amount": None if row["amount"] is None else abs(row["amount"])})
    expected = pa.Table.from_pylist(sorted(first.values(), key=lambda row: row["time"]), schema=FEEDBACK)
    assert log.append_feedback(table) == Receipt(len(first), len(table) - len(first))
    assert log.append_feedback(table) == Receipt(0, len(table))
    assert same_rows(log.feedback(), expected)


def test_slates_of_another_log_are_stored_once(log):
    first, second = make_slate(request_id="a"), make_slate(request_id="b", time=START + timedelta(hours=1))
    log.append(first)
    both = slates_to_table([first, second])
    assert log.append_slates(both) == Receipt(1, 1)
    assert log.append_slates(both) == Receipt(0, 2)
    assert log.append_slates(empty(SLATE)) == Receipt(0, 0)
    assert same_rows(log.slates(), both)
    assert log.slate("b") == second


def test_a_repeated_request_is_refused_and_the_first_kept(log):
    log.append(make_slate("r", items=("a",)))
    with pytest.raises(DuplicateRequest, match="'r' is in the log already; the slate logged first is kept"):
        log.append(make_slate("r", items=("b",)))
    log.append(make_slate("s"))
    assert log.slate("r") == make_slate("r", items=("a",))
    assert log.slates()["request_id"].to_pylist() == ["r", "s"]


def test_an_unknown_request_is_said_so(log):
    with pytest.raises(UnknownRequest, match="nobody"):
        log.slate("nobody")


def test_since_is_included_and_until_is_not(log):
    for minutes in (2, 0, 1):
        log.append(make_slate(f"r{minutes}", minutes=minutes))
        log.append_feedback(make_feedback((f"f{minutes}", f"r{minutes}", "click", "a", minutes, None)))
    limits = {"since": START, "until": START + timedelta(minutes=2)}
    assert log.slates(**limits)["request_id"].to_pylist() == ["r0", "r1"]
    assert log.feedback(**limits)["feedback_id"].to_pylist() == ["f0", "f1"]
    assert len(log.slates(since=START + timedelta(minutes=3))) == 0
    few_columns = log.slates(**limits, columns=["surface", "numeric"])
    assert few_columns.equals(log.slates(**limits).select(["surface", "numeric"]))
    with pytest.raises(SchemaError, match="no time zone"):
        log.slates(since=START.replace(tzinfo=None))


def test_a_follower_reads_everything_once_in_order_of_arrival(log):
    seen, shown, feedback_mark, shown_mark = [], [], 0, 0
    for name, minutes in (("b", 5), ("a", 1), ("c", 9)):
        log.append(make_slate(f"r{name}", items=(name,), minutes=minutes))
        log.append(make_slate(f"s{name}", items=(name, name), minutes=minutes))
        event = (f"f{name}", None, "click", name, minutes, None)
        log.append_feedback(make_feedback(event, event))
        events, feedback_mark = log.feedback_after(feedback_mark)
        items, shown_mark = log.shown_after(shown_mark)
        seen += events["feedback_id"].to_pylist()
        shown += items["item_id"].to_pylist()
    assert seen == ["fb", "fa", "fc"]
    assert shown == [["b"], ["b", "b"], ["a"], ["a", "a"], ["c"], ["c", "c"]]
    assert len(log.feedback_after(feedback_mark)[0]) == 0
    assert len(log.shown_after(shown_mark)[0]) == 0


def test_a_follower_can_begin_at_a_time_and_read_a_few_at_once(log):
    for minutes in (5, 1, 9, 7):
        log.append(make_slate(f"r{minutes}", items=(str(minutes),), minutes=minutes))
        log.append_feedback(make_feedback((f"f{minutes}", None, "click", "a", minutes, None)))
    since = START + timedelta(minutes=5)
    assert log.feedback_after(0, since=since)[0]["feedback_id"].to_pylist() == ["f5", "f9", "f7"]
    shown, seen, mark, feedback_mark = [], [], 0, 0
    for _ in range(4):
        part, mark = log.shown_after(mark, since=since, most=1)
        events, feedback_mark = log.feedback_after(feedback_mark, since=since, most=2)
        assert len(part) <= 1
        assert len(events) <= 2
        shown += part["item_id"].to_pylist()
        seen += events["feedback_id"].to_pylist()
    assert shown == [["5"], ["9"], ["7"]]
    assert seen == ["f5", "f9", "f7"]


def test_what_a_follower_reads_has_the_schemas_types(log):
    for name in ("r", "s"):
        assert log.feedback_after(0)[0].schema.equals(FEEDBACK, check_metadata=True)
        assert log.shown_after(0)[0].schema.equals(log.slates().select(list(SHOWN)).schema)
        more = ["value", "policy_version", "merchant_id", "page_merchant_id"]
        assert log.shown_after(0, columns=more)[0].equals(log.slates().select(more))
        log.append(make_slate(name))
        log.append_feedback(make_feedback((name, name, "click", "a", 0, None)))


def test_an_empty_log_has_tables_without_rows(log):
    assert same_rows(log.slates(), empty(SLATE))
    assert same_rows(log.feedback(), empty(FEEDBACK))
    assert log.append_feedback(empty(FEEDBACK)) == Receipt(0, 0)


@pytest.mark.parametrize(
    ("amount", "message"),
    [(float("nan"), "not a finite number"), (float("inf"), "not a finite number"), (-1.0, "below 0")],
)
def test_odd_amounts_are_refused_and_nothing_of_the_batch_stored(log, amount, message):
    batch = make_feedback(("f1", "r", "order", "a", 0, 5.0), ("f2", "r", "order", "a", 0, amount))
    with pytest.raises(SchemaError, match=f"feedback row 1: .*{message}"):
        log.append_feedback(batch)
    assert len(log.feedback()) == 0


def test_unknown_events_are_refused(log):
    with pytest.raises(SchemaError, match=r"feedback row 0: event is none of .* received .*'stare'"):
        log.append_feedback(make_feedback(("f", "r", "stare", "a", 0, None)))


def test_threads_share_a_log(log):
    def write(name):
        for i in range(4):
            log.append(make_slate(f"{name}{i}"))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(log.slates()) == 12


def test_a_reopened_file_holds_what_was_appended(tmp_path):
    log = SqliteLog(tmp_path / "log.db")
    log.append(make_slate("r"))
    log.append_feedback(make_feedback(("f", "r", "click", "a", 0, None)))
    log.close()
    again = SqliteLog(tmp_path / "log.db")
    assert (again.time_of_newest(1), again.time_of_newest(2)) == (make_slate("r").time, None)
    assert again.slate("r") == make_slate("r")
    assert again.append_feedback(make_feedback(("f", "r", "click", "a", 0, None))) == Receipt(0, 1)


WRITER = """
import sys
from made_slates import make_feedback, make_slate
from marketplace.sqlite_log import SqliteLog
path, name = sys.argv[1:]
log, i = SqliteLog(path), 0
while True:
    log.append(make_slate(f"{name}{i}"))
    log.append_feedback(make_feedback((f"{name}{i}", f"{name}{i}", "click", "a", 0, None)))
    print(f"{name}{i}", flush=True)
    i += 1
"""


def _start_writer(path: Path, name: str) -> subprocess.Popen:
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": f"{here}{os.pathsep}{here.parents[1]}"}
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name], stdout=subprocess.PIPE, text=True, env=environment
    )


def test_every_acknowledged_row_survives_kill_minus_9_of_three_writers(tmp_path):
    writers = [_start_writer(tmp_path / "log.db", name) for name in "abc"]
    heard = [[writer.stdout.readline().strip() for _ in range(50)] for writer in writers]
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
    for writer, lines in zip(writers, heard, strict=True):
        lines += writer.stdout.read().split()
        writer.wait()
        writer.stdout.close()
    acknowledged = {line for lines in heard for line in lines}
    log = SqliteLog(tmp_path / "log.db")
    assert len(acknowledged) >= 150
    assert acknowledged <= set(log.slates()["request_id"].to_pylist())
    assert acknowledged <= set(log.feedback()["feedback_id"].to_pylist())
    log.append(make_slate("the log can be written to after that"))
    with sqlite3.connect(tmp_path / "log.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _append_all(path: Path, name: str, refused) -> None:
    log = SqliteLog(path)
    for i in range(100):
        log.append(make_slate(f"{name}{i}"))
        try:
            log.append(make_slate(f"shared{i}", user_id=name))
        except DuplicateRequest:
            refused.put(i)
    log.append_feedback(make_feedback(*[(f"f{i}", None, "click", "a", 0, None) for i in range(100)]))


def test_three_processes_append_at_once_and_nothing_is_lost(tmp_path):
    context = multiprocessing.get_context("spawn")
    refused = context.Queue()
    writers = [context.Process(target=_append_all, args=(tmp_path / "log.db", name, refused)) for name in "abc"]
    for writer in writers:
        writer.start()
    seen = sorted(refused.get(timeout=60) for _ in range(200))
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    log = SqliteLog(tmp_path / "log.db")
    expected = {f"{name}{i}" for name in ("a", "b", "c", "shared") for i in range(100)}
    assert set(log.slates()["request_id"].to_pylist()) == expected
    assert seen == sorted([*range(100), *range(100)])
    assert len(log.feedback()) == 100


def test_a_forked_child_appends_beside_its_parent(tmp_path):
    log = SqliteLog(tmp_path / "log.db")
    log.append(make_slate("before"))
    child = multiprocessing.get_context("fork").Process(target=lambda: log.append(make_slate("child")))
    child.start()
    log.append(make_slate("parent"))
    child.join()
    assert child.exitcode == 0
    assert set(log.slates()["request_id"].to_pylist()) == {"before", "child", "parent"}


def test_a_file_that_is_no_log_is_refused(tmp_path):
    path = tmp_path / "log.db"
    path.write_text("a text file, and rather longer than the header of a database")
    with pytest.raises(SchemaError, match="cannot be opened as a log: file is not a database"):
        SqliteLog(path)
    with pytest.raises(SchemaError, match="a folder that can be written to"):
        SqliteLog(tmp_path / "absent" / "log.db")


def test_a_log_of_another_schema_version_is_refused(tmp_path):
    SqliteLog(tmp_path / "log.db").close()
    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.execute("UPDATE about SET value = '0'")
    with pytest.raises(SchemaError, match="schema version 0, this program writes 1"):
        SqliteLog(tmp_path / "log.db")


def test_a_row_does_not_repeat_the_schema(tmp_path):
    log = SqliteLog(tmp_path / "log.db")
    log.append(make_slate("r"))
    with sqlite3.connect(tmp_path / "log.db") as connection:
        (size,) = connection.execute("SELECT length(body) FROM slates").fetchone()
    assert size < SLATE.serialize().size / 4


def test_slates_that_are_appended_together_are_kept_as_those_that_come_one_by_one(tmp_path):
    """A body holds its own slate alone: neither the size nor the shoppers of the others."""
    shown = [make_slate(f"r{n}", context={"city": f"city {n}" + 500 * "x"}) for n in range(20)]
    together, apart = SqliteLog(tmp_path / "together.db"), SqliteLog(tmp_path / "apart.db")
    together.append_slates(slates_to_table(shown))
    for slate in shown:
        apart.append(slate)
    sizes = []
    for log, name in ((together, "together.db"), (apart, "apart.db")):
        assert log.slate("r3") == shown[3]
        with sqlite3.connect(tmp_path / name) as connection:
            sizes.append(connection.execute("SELECT max(length(body)) FROM slates").fetchone()[0])
        log.close()
    assert sizes[0] <= sizes[1] + 64
