"""The commands that make runs: `value-model run`, `config`, `demo`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marketplace.datasets.readers import READERS

if TYPE_CHECKING:
    from jobs.config import RunConfig

FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
FOLDER = click.Path(path_type=Path, file_okay=False)
DATA_HELP = f"simulated, {', '.join(READERS)}, a mapping file (.toml, docs/own_data.md), or the log of a service"


def settings_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say how a run is made."""
    short = (
        click.option("--data", default=None, help=f"{DATA_HELP}  [default: simulated]"),
        click.option(
            "--size", default=None, help="of the simulated market: small, demo, coupons or large  [default: demo]"
        ),
        click.option("--from", "start", default=None, help="a run to go on from, on new days alone  [default: none]"),
        click.option("--seed", type=int, default=None, help="[default: 7]"),
        click.option("--index", default=None, help="the library of the index, retrieval.index  [default: scann]"),
        click.option("--policy", default=None, help="a shipped value policy, or a policy file  [default: default]"),
        click.option("--surfaces", default=None, help="recipes of the surfaces, a surfaces.toml  [default: default]"),
        click.option("--feature", multiple=True, help="a feature beside the standard ones; may be repeated"),
        click.option("--config", "file", type=FILE, default=None, help="a run file (TOML, docs/running.md)"),
        click.option(
            "--set", "assignments", multiple=True, metavar="SECTION.NAME=VALUE", help="one setting; may be repeated"
        ),
    )
    for option in reversed(short):
        command = option(command)
    return command


@click.command()
@settings_options
@click.option("--out", type=FOLDER, default=Path("runs/latest"), show_default=True, help="a new or interrupted run")
def run(out: Path, **settings: Any) -> None:
    """Do everything: data, retrieval, ranker, calibration, evaluation, export.

    \b
    Examples:
      value-model run --config run.toml --out runs/first
      value-model run --set training.epochs=30 --set retrieval.dimensions=32 --set trees.leaves=63

    A run that was interrupted goes on where it stopped when it is started again with the same settings.
    """
    from jobs.run import run_all

    run_all(_config(**settings), out)


@click.command()
@settings_options
@click.option("--explain", is_flag=True, help="a table of every setting instead: default, unit, range, meaning")
def config(explain: bool, **settings: Any) -> None:
    """Print the run file of a run with these options: every setting, those left out with their defaults."""
    from jobs.run_file import explained, to_toml

    run_config = _config(**settings)
    if explain:
        from jobs.tables import print_section

        print_section(("setting", "default", "unit", "range", "meaning"), explained(), title="settings", caption="")
    else:
        click.echo(to_toml(run_config), nl=False)


@click.command()
@click.argument("folders", nargs=-1, required=True, metavar="RUN RUN...", type=FOLDER)
@click.option("--out", type=FOLDER, default=None, help="where the page is kept  [default: the last RUN/comparison]")
def compare(folders: tuple[Path, ...], out: Path | None) -> None:
    """Compare what several runs serve: settings that differ, metrics of each, and their paired differences.

    The first RUN is what the others are held against. All must have judged the same requests: the same data, and the
    same periods.
    """
    from jobs.compare_runs import compare as job

    job(folders, out=out or folders[-1] / "comparison")


@click.command()
@click.argument("file", metavar="RUN.TOML", type=FILE)
@click.option("--trials", type=int, default=None, help="runs to try in all  [default: those of the file's [search]]")
@click.option("--out", type=FOLDER, default=Path("runs/search"), show_default=True, help="a new or interrupted search")
def search(file: Path, trials: int | None, out: Path) -> None:
    """Search better settings: those that the [search.settings] of a run file name, on validation.

    \b
    [search.settings]
    trees.leaves = [15, 31, 63]
    training.learning_rate = { least = 1e-4, most = 1e-2, log = true }

    Every trial is a run that shares the data and retrieval of others where their settings are the same; fits that lag
    are ended early. An interrupted search goes on. The best trial is printed with the command that completes it.
    """
    from jobs.settings_search import search as job

    job(file, out=out, trials=trials)


def _config(
    *, file: Path | None, assignments: tuple[str, ...], index: str | None, feature: tuple[str, ...], **short: Any
) -> RunConfig:
    from jobs.run_file import read_run

    return read_run(file, assignments, {**short, "retrieval.index": index, "features": feature})


@click.command()
@click.option("--data", default="simulated", show_default=True, help=DATA_HELP)
@click.option("--out", type=FOLDER, default=None, help="where the run is kept  [default: runs/demo-DATA]")
def demo(data: str, out: Path | None) -> None:
    """Run the whole loop once, ask the service for a slate, send feedback, and show the log."""
    from jobs.demo import demo as job

    job(data, out or Path("runs") / f"demo-{Path(data).stem}")
