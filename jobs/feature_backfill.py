"""Features of a log's requests computed again where the log lies; and the SQL that computes their statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import click

from features.backends.clickhouse_backfill import ClickhouseBackfill
from features.definitions import statistics_of, with_extra
from features.served import attach
from features.statistics import STATISTICS
from jobs.data import moved_catalogue
from marketplace.clickhouse.clickhouse_log import ClickhouseLog
from marketplace.clickhouse.dialects import transpiled
from marketplace.log_place import Place, home_of, shown_place
from marketplace.open_log import open_log
from marketplace.parquet.days import write_days
from serving.bundle import load_bundle

AT_ONCE = 50_000  # requests, of whole days, whose features are computed at once
PART = "features"  # of the files' names
DAYS = """SELECT day, sum(requests)
FROM (
    SELECT toDate(time) AS day, 1 AS requests FROM slates FINAL
    UNION ALL SELECT toDate(time), 0 FROM feedback FINAL)
GROUP BY day ORDER BY day"""


def backfill_features(place: Place, *, to: Path, home: Path | None = None, extra: tuple[str, ...] = ()) -> None:
    """Write the days of a log in ClickHouse to the folder `to`, its slates with the features of the bundle in `home`
    (None = the log's) and the `extra` ones, as of each request."""
    bundle = load_bundle((home or home_of(place)) / "bundle")
    spec = with_extra(bundle.encoder.spec, extra)
    with closing(open_log(place)) as log:
        if not isinstance(log, ClickhouseLog):
            raise ValueError(f"{shown_place(place)} is not kept in ClickHouse: load it first (`value-model load-log`).")
        records = log.catalogue_after(0)[0]
        dataset = moved_catalogue(bundle.catalogue, records, since=bundle.catalogue_until)
        if here := [one.name for one in statistics_of(spec) if not one.point_in_time()]:
            click.echo(f"No SQL computes {', '.join(here)}: all of the log is read into memory for them.")
            dataset = replace(dataset, slates=log.slates(), feedback=log.feedback())
        known = ClickhouseBackfill(log.connection)
        for since, until in _periods(log):
            slates = log.slates(since=since, until=until)
            if len(slates):
                write_days(attach(slates, known(dataset, slates, spec=spec)), to, "slates", part=PART)
            write_days(log.feedback(since=since, until=until), to, "feedback", part=PART)
            click.echo(f"{since:%Y-%m-%d} to {until - timedelta(days=1):%Y-%m-%d}: {len(slates):,} requests")
    click.echo(f"{to}: slates with {len(spec.features)} features (spec {spec.version}), and their feedback")


def _periods(log: ClickhouseLog) -> Iterator[tuple[datetime, datetime]]:
    """[since, until) of whole days with slates or events, AT_ONCE requests or one day each."""
    requests, begun = 0, None
    days = log.connection.rows(DAYS)
    for place, (day, count) in enumerate(days):
        begun = begun or datetime.combine(day, time(), UTC)
        requests += count
        if place + 1 == len(days) or requests + days[place + 1][1] > AT_ONCE:
            yield begun, datetime.combine(day, time(), UTC) + timedelta(days=1)
            requests, begun = 0, None


def print_queries(dialect: str, *, statistic: str | None = None, tables: str = "") -> None:
    """Print the point-in-time SQL of every statistic, or of one, for ClickHouse or one of `dialects.DIALECTS`."""
    names = [one.name for one in STATISTICS]
    if statistic not in (None, *names):
        raise ValueError(f"there is no statistic {statistic!r}; there are {', '.join(names)}.")
    for one in STATISTICS:
        if statistic not in (None, one.name):
            continue
        queries = [query for query in one.point_in_time() if dialect in query.engines]
        if not queries:
            click.echo(f"-- {one.name}: no SQL, as {one.without_sql}\n")
        for query in queries:
            sql = query.sql if dialect == "clickhouse" else transpiled(query.sql, dialect, tables)
            click.echo(f"-- {one.name}, by {query.of}: {', '.join(query.columns)}\n{sql};\n")
