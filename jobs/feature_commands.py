"""The commands `value-model features ...`: what the service knows, whether it knew it rightly, and what was known."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from jobs.log_argument import LogArgument
from marketplace.log_place import Place

SOURCE = LogArgument(folders=True)
FOLDER = click.Path(path_type=Path, file_okay=False)
OUT = click.Path(path_type=Path, dir_okay=False)


@click.group("features")
def feature_commands() -> None:
    """Look at the features that a service computes and logs."""


@feature_commands.command()
@click.argument("source", type=SOURCE)
@click.option("--run", "home", type=FOLDER, default=None, help="the run of the bundles  [default: SOURCE's folder]")
@click.option("--json", "out", type=OUT, default=None, help="also write the report here")
def check(source: Place, home: Path | None, out: Path | None) -> None:
    """Compute the features in a log again, and say by feature how many values differ, are missing or extra.

    SOURCE is a run's folder or a service's log. Where the run's data are there, the batch form computes them
    from the data and the log, all at once; else a feature store that starts from the bundle and learns the log.
    Exits with 1 where a value differs.
    """
    from jobs.feature_check import check_features

    sys.exit(check_features(source, home=home, out=out))


@feature_commands.command()
@click.argument("folder", type=FOLDER)
@click.option("--log", type=LogArgument(), default=None, help="its log  [default: FOLDER/log.sqlite where it is]")
def size(folder: Path, log: Place | None) -> None:
    """Say what each statistic of run or service FOLDER remembers: keys, rows, bytes, what bounds them, when they end.

    Measured on a worker's store: that of the bundle, and what the log has taught it since.
    """
    from jobs.feature_size import print_sizes

    print_sizes(folder, log=log)


@feature_commands.command()
@click.argument("log", type=LogArgument())
@click.option("--to", type=FOLDER, required=True, help="the folder of days that is written")
@click.option("--run", "home", type=FOLDER, default=None, help="the run of the bundle  [default: LOG's]")
@click.option("--feature", multiple=True, help="a feature beside those of the bundle; may be repeated")
def backfill(log: Place, to: Path, home: Path | None, feature: tuple[str, ...]) -> None:
    """Compute the features of every request in LOG, a log in ClickHouse, as they were known at its time.

    \b
    Example:
      value-model features backfill "chdb:///srv/market/log?run=runs/first" --feature item_shoppers --to /srv/days
      value-model run --data "parquet:///srv/days?run=runs/first" --feature item_shoppers --out runs/second

    Statistics are computed by SQL where the log lies; the days hold LOG's slates with their features, and its feedback.
    """
    from jobs.feature_backfill import backfill_features

    backfill_features(log, to=to, home=home, extra=feature)


@feature_commands.command()
@click.option(
    "--dialect", type=click.Choice(["clickhouse", "bigquery", "spark"]), default="clickhouse", show_default=True
)
@click.option("--statistic", default=None, metavar="NAME", help="of this statistic alone")
@click.option("--tables", default="", metavar="NAME", help="the data set that holds the tables, not in ClickHouse")
def sql(dialect: str, statistic: str | None, tables: str) -> None:
    """Print the point-in-time SQL of the statistics that features read (docs/features.md)."""
    from jobs.feature_backfill import print_queries

    print_queries(dialect, statistic=statistic, tables=tables)
