"""The commands that make runs: `value-model run`, `value-model demo`."""

from __future__ import annotations

from pathlib import Path

import click

from marketplace.datasets.readers import READERS

FOLDER = click.Path(path_type=Path, file_okay=False)
DATA_HELP = (
    f"simulated, {', '.join(READERS)}, a mapping file (.toml, docs/own_data.md), or the log of a service (.sqlite)"
)


@click.command()
@click.option("--data", default="simulated", show_default=True, help=DATA_HELP)
@click.option("--size", type=click.Choice(["small", "demo", "large"]), default="demo", show_default=True)
@click.option("--seed", default=7, show_default=True)
@click.option("--index", type=click.Choice(["scann", "faiss", "exact"]), default="scann", show_default=True)
@click.option("--policy", default="default", show_default=True, help="a shipped value policy, or a policy file")
@click.option("--surfaces", default="default", show_default=True, help="recipes of the surfaces, a surfaces.toml")
@click.option("--feature", multiple=True, help="a feature beside the standard ones; may be repeated")
@click.option("--out", type=FOLDER, default=Path("runs/latest"), show_default=True, help="a new or interrupted run")
def run(
    data: str, size: str, seed: int, index: str, policy: str, surfaces: str, feature: tuple[str, ...], out: Path
) -> None:
    """Do everything: data, retrieval, ranker, calibration, evaluation, export.

    A run that was interrupted goes on where it stopped when it is asked for again with the same options.
    """
    from jobs.config import RunConfig
    from jobs.run import run_all
    from retrieval.config import RetrievalConfig

    config = RunConfig(
        data=data,
        size=size,
        seed=seed,
        policy=policy,
        surfaces=surfaces,
        features=feature,
        retrieval=RetrievalConfig(index=index),
    )
    run_all(config, out)


@click.command()
@click.option("--data", default="simulated", show_default=True, help=DATA_HELP)
@click.option("--out", type=FOLDER, default=None, help="where the run is kept  [default: runs/demo-DATA]")
def demo(data: str, out: Path | None) -> None:
    """Run the whole loop once, ask the service for a slate, send feedback, and show the log."""
    from jobs.demo import demo as job

    job(data, out or Path("runs") / f"demo-{Path(data).stem}")
