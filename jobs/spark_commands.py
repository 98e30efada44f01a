"""The commands `value-model spark ...`: what is large, over a log's days (docs/spark.md)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from jobs.kafka_commands import brokers_of, brokers_options
from jobs.log_argument import LogArgument

FOLDER = click.Path(path_type=Path, file_okay=False)
MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])
DAYS = click.Path(path_type=Path, file_okay=False, exists=True)


def master_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--master",
        default=None,
        metavar="URL",
        help="local[2], spark://HOST:PORT, ...  [default: that of spark-submit, or this machine's cores]",
    )(command)


@click.group("spark")
def spark_commands() -> None:
    """Do what is large on Spark, over a log in Parquet files by day."""


@spark_commands.command("join-feedback")
@click.argument("days", type=DAYS)
@click.option("--to", "out", type=FOLDER, required=True, help="where the rows go, by day")
@master_option
def join_feedback(days: Path, out: Path, master: str | None) -> None:
    """Join the slates and feedback of DAYS into training rows, by day, and count what did not join.

    DAYS is a folder that `value-model load-log LOG parquet:///DAYS` filled; the rows are those of `join-feedback LOG`.
    It and OUT are folders that every machine sees under the same path.
    """
    from jobs.spark.join_feedback import join_feedback as job

    job(days, out=out, master=master)


@spark_commands.command("training-rows")
@click.argument("folder", metavar="RUN", type=DAYS)
@click.argument("days", type=DAYS)
@click.option("--to", "out", type=FOLDER, default=None, help="a new folder  [default: RUN/training_rows]")
@master_option
def training_rows(folder: Path, days: Path, out: Path | None, master: str | None) -> None:
    """Write what the ranker of RUN learns from of the log in DAYS: encoded rows by day, with labels and periods.

    RUN is one whose retrieval is trained; the features of DAYS are as its service logged them. Where they lie in
    RUN/training_rows, `value-model train-ranker RUN` streams them.
    """
    from jobs.spark.training_rows import training_rows as job

    job(folder, days, out=out or folder / "training_rows", master=master)


@spark_commands.command("compact")
@click.argument("days", type=DAYS)
@master_option
def compact(days: Path, master: str | None) -> None:
    """Merge the small files of each day in DAYS, and drop what stands there twice under one id."""
    from jobs.spark.compact import compact as job

    job(days, master=master)


@spark_commands.command("stream")
@click.argument("days", type=FOLDER)
@brokers_options
@click.option(
    "--checkpoint",
    type=FOLDER,
    default=None,
    help="where Spark keeps how far it has come  [default: DAYS/.stream]",
)
@click.option("--every", default=60.0, show_default=True, help="seconds between two batches")
@click.option("--once", is_flag=True, help="end when everything that is there now has been read")
@master_option
def stream(days: Path, kafka: str, prefix: str, every: float, once: bool, **options: Any) -> None:
    """Append what the topics slates, feedback and items hold to the Parquet files in DAYS, each record exactly once.

    Records that cannot be used go to the topic dead_letters with the reason. Exits with 1 where there were some, with 2
    where records expired before they were read.
    """
    from jobs.spark.stream import stream as job

    sys.exit(job(days, brokers_of(kafka, prefix), every=None if once else every, **options))


@spark_commands.command("score")
@click.argument("folder", type=DAYS)
@click.option("--to", "out", type=FOLDER, required=True, help="a new folder")
@click.option("-k", default=20, show_default=True, help="items a shopper")
@click.option(
    "--at", type=MOMENT, default=None, help="the time of the requests, UTC  [default: the end of FOLDER's data]"
)
@click.option("--log", type=LogArgument(), default=None, help="a log of what shoppers did since")
@click.option("--shoppers", "days", type=DAYS, default=None, help="a log's days, whose shoppers are scored instead")
@master_option
def score(folder: Path, at: datetime | None, **options: Any) -> None:
    """Write the home list of every shopper, as the service would answer, with predictions: the bundle of run FOLDER.

    Shoppers are those whom the run's data describe. Nothing is logged.
    """
    from jobs.spark.score_users import score_users

    score_users(folder, at=None if at is None else at.replace(tzinfo=UTC), **options)
