"""The commands that train what an existing run has trained before."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("train-retrieval")
@click.argument("folder", type=FOLDER)
def train_retrieval(folder: Path) -> None:
    """Train the two towers of run FOLDER again and rebuild its index."""
    from jobs.run import again

    again(folder, "retrieval")


@click.command("train-ranker")
@click.argument("folder", type=FOLDER)
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="processes that fit the network"
)
def train_ranker(folder: Path, workers: int) -> None:
    """Train the rankers of run FOLDER again, with their calibrators, and choose the one that serves.

    Where FOLDER/training_rows holds rows, the network streams them; several --workers each read their part of them.
    """
    from jobs.run import again
    from jobs.train_ranker import train_ranker as job

    again(folder, "ranker", partial(job, workers=workers))


@click.command("network-worker")
@click.argument("folder", type=FOLDER)
def network_worker(folder: Path) -> None:
    """Fit the network of run FOLDER to FOLDER/training_rows, as one of the processes that TF_CONFIG names.

    Start it on each machine, FOLDER being one that all of them see; `train-ranker FOLDER` then takes the network up.
    """
    from jobs.network_worker import network_worker as job

    job(folder)
