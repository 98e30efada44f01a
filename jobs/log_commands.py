"""The commands `value-model log ...` and `load-log`: looking after the log of a service."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.log_argument import LogArgument
from marketplace.log_place import Place

FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.group("log")
def log_commands() -> None:
    """Look after the log of a service."""


@log_commands.command()
@click.argument("log", type=FILE)
@click.argument("target", type=click.Path(path_type=Path))
def backup(log: Path, target: Path) -> None:
    """Write all that LOG holds into the new file TARGET, while services go on appending to LOG.

    A plain copy of LOG alone lacks what lies in LOG-wal while a service runs.
    """
    from marketplace.sqlite_log import SqliteLog

    opened = SqliteLog(log)
    opened.backup(target)
    opened.close()
    click.echo(f"{target}: {target.stat().st_size:,} bytes")


@log_commands.command()
@click.argument("log", type=LogArgument())
@click.option("--most", default=20, show_default=True, help="texts shown")
def searches(log: Place, most: int) -> None:
    """Count the searches in LOG by how they were answered, and list the commonest that found nothing."""
    from jobs.searches import report_searches

    report_searches(log, most=most)


@log_commands.command()
@click.argument("log", type=LogArgument())
@click.option("--by", type=click.Choice(["day", "hour"]), default="day", show_default=True)
@click.option("--experiment", default=None, metavar="NAME", help="by the variants of this experiment instead")
def sums(log: Place, by: str, experiment: str | None) -> None:
    """Sum up LOG, which is kept in ClickHouse: requests, items shown, events and orders' amounts, day by day.

    The sums are made where the log lies, so that a month of it needs little memory here.
    """
    from jobs.log_sums import report_sums

    report_sums(log, by=by, experiment=experiment)


@log_commands.command()
@click.option("--for", "engine", type=click.Choice(["bigquery"]), default="bigquery", show_default=True)
@click.option("--from", "uri", default="gs://BUCKET/log", show_default=True, help="where `load-log` files were copied")
@click.option("--to", "dataset", default="market", show_default=True, help="the engine's data set, PROJECT:NAME")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="where the files go")
def schema(engine: str, uri: str, dataset: str, out: Path) -> None:
    """Write the schema of the log's tables for another engine, with the commands that load files of `load-log` there.

    OUT takes a file a table (slates.json, ...) and load.sh.
    """
    from marketplace.parquet.bigquery import write_schemas

    for file in write_schemas(out, uri=uri, dataset=dataset):
        click.echo(f"{file}")


@log_commands.command()
@click.option("--dialect", type=click.Choice(["bigquery", "spark"]), required=True)
@click.option("--by", type=click.Choice(["day", "hour"]), default="day", show_default=True)
@click.option("--tables", default="", metavar="NAME", help="the data set that holds the tables")
def sql(dialect: str, by: str, tables: str) -> None:
    """Print the queries of `log sums` in the SQL of another engine, over the tables that `log schema` describes."""
    from marketplace.clickhouse.dialects import sums_in

    for name, query in sums_in(dialect, by=by, tables=tables).items():
        click.echo(f"-- {name}\n{query};\n")


@click.command("load-log")
@click.argument("source", type=LogArgument(folders=True))
@click.argument("target")
@click.option("--keep", type=click.IntRange(min=1), default=None, metavar="DAYS", help="drop what is older")
def load_log(source: Place, target: str, keep: int | None) -> None:
    """Load SOURCE into TARGET, where logs of several services come together.

    TARGET is a log in ClickHouse (docs/live.md), loaded from a service's log or a folder of Parquet files; or a folder
    of Parquet files by day (docs/spark.md), loaded from any log.

    \b
    Examples:
      value-model load-log runs/first/log.sqlite chdb:///srv/market/log
      value-model load-log runs/first/log.sqlite "clickhouse://loader:PASSWORD@host:8123/market?run=runs/first"
      value-model load-log runs/first/log.sqlite parquet:///srv/market/days

    It may be ended at any moment and begun again: nothing is lost, and nothing is stored twice. TARGET then stands
    wherever a command takes a log.
    """
    from jobs.load_log import load as job

    job(source, target, keep=keep)
