"""What Spark makes of a log's days is what the commands on one machine make of the log."""

import json
import re
import shutil
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from made_slates import START, make_slate

from jobs.cli import cli
from jobs.join_feedback import logged_names, training_rows
from marketplace.attribution import attribute
from marketplace.clickhouse.dialects import sums_in
from marketplace.clickhouse.sums import period_sums
from marketplace.open_log import open_log
from marketplace.parquet import days as files
from marketplace.parquet.days import write_days
from marketplace.repeats import repeated
from marketplace.schema import EVENTS, FEEDBACK
from marketplace.slate import slates_to_table

pytest.importorskip("pyspark", reason="pyspark is not installed (pip install value-model[spark])")

from marketplace.spark.days import rows_of_days
from marketplace.spark.session import spark_session

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("java") is None, reason="java is not installed (openjdk-17-jre-headless)"),
    pytest.mark.xdist_group("spark"),
]
SLATES, EVENTS_OF_LOG = 400, 6000


def run(*words: str) -> str:
    answer = CliRunner().invoke(cli, ["spark", *words, "--master", "local[2]"])
    assert answer.exit_code == 0, answer.output + repr(answer.exception)
    return answer.output


@pytest.fixture(scope="module")
def tables():
    """Slates with features of several bundles, and events with everything that can be wrong with one."""
    rng = np.random.default_rng(3)
    slates = []
    for n in range(SLATES):
        numeric = {"age": np.array([n], np.float32), f"of_item{n % 2}": rng.random(3).astype(np.float32)}
        one = make_slate(f"r{n}", minutes=30 * int(rng.integers(SLATES)), user_id=f"u{n % 40}", numeric=numeric)
        heads = {"ctr": rng.random(3)} | ({"cvr": rng.random(3)} if n % 3 else {})
        position = np.array([1, 2, 0], np.int32)
        slates.append(replace(one, predictions=heads, position=position, session_id=f"s{n % 7}"))
    request = rng.integers(-4, SLATES + 10, EVENTS_OF_LOG)
    minutes = [
        (slates[r].time - START).total_seconds() / 60 if 0 <= r < SLATES else 0 for r in request.tolist()
    ] + rng.exponential(3000, EVENTS_OF_LOG)
    columns = {
        "feedback_id": [f"f{n}" for n in rng.integers(EVENTS_OF_LOG * 3 // 4, size=EVENTS_OF_LOG)],
        "request_id": [None if r < 0 else f"r{r}" for r in request],
        "event": rng.choice(EVENTS, EVENTS_OF_LOG).tolist(),
        "time": [START + timedelta(minutes=m) for m in (minutes - 20).tolist()],
        "user_id": [f"u{(r + (n % 9 == 0)) % 40}" for n, r in enumerate(request)],
        "item_id": rng.choice(["a", "b", "c", "d"], EVENTS_OF_LOG).tolist(),
        "amount": [[None, 5.0, 7.5, float("nan")][n] for n in rng.integers(4, size=EVENTS_OF_LOG)],
        "currency": ["AED" if n % 20 == 0 else "SAR" for n in range(EVENTS_OF_LOG)],
        "session_id": [f"s{r % 7}" if n % 18 == 0 else None for n, r in enumerate(request)],
        "detail": [None] * EVENTS_OF_LOG,
    }
    return slates_to_table(slates), pa.table(columns, schema=FEEDBACK)


@pytest.fixture(scope="module")
def days(tables, tmp_path_factory):
    """The same by days, in several files each, a third of the slates in two files."""
    folder, (slates, feedback) = tmp_path_factory.mktemp("spark") / "days of a log", tables
    for part, start in enumerate(range(0, SLATES, 100)):
        write_days(slates.slice(start, 133), folder, "slates", part=f"{part}")
    for part, start in enumerate(range(0, EVENTS_OF_LOG, 2000)):
        write_days(feedback.slice(start, 2000), folder, "feedback", part=f"{part}")
    return folder


def in_order(rows: pa.Table) -> list:
    """The rows as text, a request's in the order of its items."""
    whole = rows.to_pandas().astype({"request_id": str}).sort_values("request_id", kind="stable")
    return whole[sorted(rows.column_names)].to_csv(index=False).splitlines()


def test_training_rows_are_those_of_one_machine_cell_by_cell(tables, days, tmp_path):
    slates, feedback = tables
    printed = run("join-feedback", str(days), "--to", str(tmp_path / "rows"))
    joined = attribute(slates, feedback)
    expected = training_rows(joined.slates, joined.labels, names=logged_names(joined.slates))
    files = sorted((tmp_path / "rows" / "rows").glob("day=*/*.parquet"))
    assert len({file.parent.name for file in files}) > 5
    rows = pa.concat_tables([pq.ParquetFile(file).read() for file in files], promote_options="permissive")
    assert in_order(rows) == in_order(expected)
    about = json.loads((tmp_path / "rows" / "joined.json").read_text())
    assert about["counts"] == vars(joined.counts)
    assert min(count for name, count in about["counts"].items() if name != "future") > 0
    assert f"{3 * SLATES:,} rows of {SLATES:,} slates" in printed


def content(folder) -> tuple[list[str], list[str]]:
    log = open_log(f"parquet://{folder}")
    return in_order(log.slates(columns=["request_id", "time", "user_id"])), in_order(log.feedback())


def test_days_are_compacted_and_stay_the_same_log(days, tmp_path):
    folder = tmp_path / "days"
    shutil.copytree(days, folder)
    before = content(folder)
    repeats = 99 + EVENTS_OF_LOG - (len(before[1]) - 1)
    printed = run("compact", str(folder))
    dropped = int(re.search(r"([\d,]+) rows stood there twice", printed)[1].replace(",", ""))
    assert 99 <= dropped <= repeats
    assert content(folder) == before
    assert "0 files of 0 days are 0 now" in run("compact", str(folder))


def test_sums_in_sparks_sql_are_those_of_clickhouse(tables, clickhouse_log, tmp_path):
    slates, feedback = tables
    sound = pc.invert(pc.fill_null(pc.is_nan(feedback["amount"]), False))
    feedback = feedback.filter(pa.array(~repeated(feedback))).filter(sound.filter(pa.array(~repeated(feedback))))
    clickhouse_log.append_slates(slates)
    clickhouse_log.append_feedback(feedback)
    for table, rows in (("slates", slates), ("feedback", feedback)):
        write_days(rows, tmp_path, table, part="1")
    with spark_session("local[2]", name="sums") as spark:
        for table in ("slates", "feedback"):
            rows_of_days(spark, tmp_path, table, files.SCHEMAS[table].names).createOrReplaceTempView(table)
        for by in ("hour", "day"):
            theirs = period_sums(clickhouse_log, by=by)
            for query, sums in zip(sums_in("spark", by=by).values(), theirs, strict=True):
                ours = spark.sql(query).toArrow().to_pandas()
                assert len(ours) == len(sums) > 5
                for name in ours:
                    expected = sums[name].to_pandas()
                    if ours[name].dtype.kind in "if":
                        np.testing.assert_allclose(ours[name], expected)
                    else:
                        assert ours[name].astype(str).tolist() == expected.astype(str).tolist()
