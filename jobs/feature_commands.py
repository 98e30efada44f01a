"""The commands `value-model features ...`: what the service knows, and whether it knew it rightly."""

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
