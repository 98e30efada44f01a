"""The commands `value-model produce` and `value-model consume`: a log over Kafka."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.log_argument import LogArgument
from marketplace.log_place import Place

if TYPE_CHECKING:
    from marketplace.kafka.client import Brokers

TOPICS = ("slates", "feedback", "items", "dead_letters")


def brokers_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say where the topics are."""
    for option in (
        click.option("--partitions", default=6, show_default=True, help="of topics that are not there yet"),
        click.option("--prefix", default="", help="put before the names of topics and groups"),
        click.option(
            "--kafka",
            required=True,
            envvar="VALUE_MODEL_KAFKA",
            help="HOST:PORT[,HOST:PORT...], or a file of the client's settings, NAME=VALUE a line",
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("log", type=click.Path(path_type=Path, exists=True))
@brokers_options
@click.option("--again", is_flag=True, help="everything, whatever was sent and read before")
@click.option("--once", is_flag=True, help="end when everything on record is acknowledged")
def produce(log: Path, kafka: str, prefix: str, partitions: int, again: bool, once: bool) -> None:
    """Send what a service's LOG holds to the topics slates, feedback and items; follow the catalogue of the others.

    LOG is an SQLite file, or the folder of a run or service that holds log.sqlite. One process a log, beside the
    service, which waits for none of it; `value-model serve --kafka` starts it.
    """
    from jobs.carry_log import produce as job

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    path = log / "log.sqlite" if log.is_dir() else log
    sys.exit(job(path, brokers_of(kafka, prefix), partitions=partitions, again=again, once=once))


@click.command()
@brokers_options
@click.option(
    "--into",
    type=LogArgument(new=True),
    required=True,
    envvar="VALUE_MODEL_INTO",
    help="a log: an SQLite file, or an address",
)
@click.option(
    "--topics", default="slates,feedback,items", show_default=True, help=f"some of {', '.join(TOPICS)}, with commas"
)
@click.option("--group", default="log", show_default=True, help="consumers that share the work bear one name")
@click.option(
    "--from", "start", default="committed", show_default=True, help="committed, earliest, or an offset: where to start"
)
@click.option("--once", is_flag=True, help="end when everything that is there has been read")
@click.option("--features", default=None, help="teach the Redis that `serve --gathered` machines share what is written")
@click.option("--run", type=click.Path(path_type=Path, exists=True), default=None, help="the run that they serve")
def consume(
    kafka: str,
    prefix: str,
    partitions: int,
    into: Place,
    topics: str,
    group: str,
    start: str,
    once: bool,
    features: str | None,
    run: Path | None,
) -> None:
    """Write what the topics hold into a log, each record once, however often it is delivered.

    Records that cannot be used go to the topic dead_letters with the reason; `--topics dead_letters` tries them again.
    Exits with 1 where there were some, with 2 where records expired before they were read.
    """
    from jobs.carry_log import consume as job
    from marketplace.kafka.records import Topic

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    names = topics.split(",")
    if unknown := set(names) - set(TOPICS):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}: there are {', '.join(TOPICS)}", param_hint="--topics")
    if start not in ("committed", "earliest") and not start.isdigit():
        raise click.BadParameter(f"{start!r} is none of committed, earliest, and an offset", param_hint="--from")
    if bool(features) != bool(run):
        raise click.UsageError("--features and --run go together: what is known is kept by the run's items.")
    where = int(start) if start.isdigit() else start
    chosen = [Topic(name) for name in names]
    answer = job(
        into,
        brokers_of(kafka, prefix),
        topics=chosen,
        group=group,
        start=where,
        partitions=partitions,
        once=once,
        taught=(run, features) if run and features else None,
    )
    sys.exit(answer)


def brokers_of(kafka: str, prefix: str) -> Brokers:
    """What the options name."""
    from marketplace.kafka.client import Brokers

    return Brokers.of(kafka, prefix=prefix)
