"""The commands `value-model experiment ...`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from jobs.log_argument import LogArgument
from marketplace.log_place import Place

RUN = click.Path(path_type=Path, exists=True, file_okay=False)
SOURCE = LogArgument(folders=True)
LOG = LogArgument()
FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.group("experiment")
def experiment_commands() -> None:
    """Plan an experiment, watch it while it runs, and read what came of it."""


@experiment_commands.command()
@click.argument("source", type=SOURCE)
@click.argument("file", type=FILE)
def plan(source: Place, file: Path) -> None:
    """Say how long the experiment of FILE takes, by the log of SOURCE: a service's, or a run's folder.

    By the units that came, how much they differ, and the weekdays. Exits with 1 where the days that FILE names do not
    find the minimum effect that it names.
    """
    from jobs.read_experiment import plan as job

    sys.exit(job(source, file))


@experiment_commands.command()
@click.argument("source", type=SOURCE)
@click.argument("file", type=FILE)
@click.option("--out", type=click.Path(path_type=Path), help="the page  [default: NAME.html beside SOURCE]")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="also write the figures here"
)
def read(source: Place, file: Path, out: Path | None, json_file: Path | None) -> None:
    """Say what the experiment of FILE brought, by the log of SOURCE: trust, effects, guardrails, and what to do."""
    from jobs.read_experiment import read as job

    sys.exit(job(source, file, out=out, json_file=json_file))


@experiment_commands.command("read-two-sides")
@click.argument("source", type=SOURCE)
@click.argument("shoppers", type=FILE)
@click.argument("merchants", type=FILE)
def read_two_sides(source: Place, shoppers: Path, merchants: Path) -> None:
    """Say what each side does on store pages, where one experiment draws SHOPPERS and another MERCHANTS."""
    from jobs.read_two_sides import read_two_sides as job

    sys.exit(job(source, shoppers, merchants))


@experiment_commands.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--seed", default=7, show_default=True)
def example(folder: Path, seed: int) -> None:
    """Write a simulated log with an experiment in it, and the experiment's file, to FOLDER."""
    from jobs.example_experiment import example_experiment

    click.echo(f"wrote {example_experiment(folder, seed=seed)} and log.sqlite beside it")


@experiment_commands.command()
@click.argument("folder", type=RUN)
@click.option("--log", type=LOG, default=None, help="the service's log  [default: FOLDER/log.sqlite]")
@click.option(
    "--every", type=click.FloatRange(min=0.5), default=None, help="look again after so many seconds, for good"
)
def watch(folder: Path, log: Place | None, every: float | None) -> None:
    """Decide on the experiments in FOLDER by their log: stop what surely harms, ramp what is surely safe.

    Running services follow the decisions within a second. Without --every it looks once, and exits with 1 where a file
    of the folder is at fault.
    """
    from jobs.experiment_watch import watch as job

    sys.exit(job(folder, log=log, every=every))


@experiment_commands.command()
@click.argument("folder", type=RUN)
@click.option("--log", type=LOG, default=None, help="the service's log  [default: FOLDER/log.sqlite]")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="also write it here")
def status(folder: Path, log: Place | None, json_file: Path | None) -> None:
    """Say where the experiments in FOLDER stand: step, bounds, the next move and when, what was decided and why.

    Nothing is decided. Exits with 1 where a file of the folder is at fault.
    """
    from jobs.experiment_status import status as job

    sys.exit(job(folder, log=log, out=json_file))


@experiment_commands.command()
@click.argument("folder", type=RUN)
@click.argument("name")
@click.option("--variant", default=None, help="this one alone  [default: all that change something]")
@click.option("--by", "owner", required=True, help="who stops it")
@click.option("--why", "reason", required=True, help="the reason, for the record")
def stop(folder: Path, name: str, variant: str | None, owner: str, reason: str) -> None:
    """Return the units of experiment NAME in FOLDER to what is in force, for good."""
    from jobs.experiment_status import stop as job

    job(folder, name, variant=variant, owner=owner, reason=reason)
