"""The command `value-model uplift`: who gains by a treatment, and who is worth treating."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import click

LEARNERS = ("S", "T", "X", "R", "DR")


def _listed(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _costs(texts: tuple[str, ...]) -> dict[str, float] | float:
    """A number for all treatments, or NAME=NUMBER for each."""
    try:
        if len(texts) == 1 and "=" not in texts[0]:
            return float(texts[0])
        return {name: float(amount) for name, amount in (text.rsplit("=", 1) for text in texts)}
    except ValueError:
        raise click.UsageError(f"--cost {' '.join(texts)}: give a number, or NAME=NUMBER for each treatment.") from None


@click.command("uplift")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--treatment", required=True, help="the column that says who was treated with what")
@click.option("--control", required=True, help="its value for who was not treated")
@click.option("--outcome", required=True, help="the column of what came of it: a number, or 0 and 1")
@click.option("--features", required=True, help="columns of what was known before the treatment, with commas")
@click.option("--unit", default=None, help="the column of who it is: rows of one stand or fall together")
@click.option("--randomised", is_flag=True, help="every row had the same chances of each treatment")
@click.option("--propensity", default=None, help="the column of P(treated), of one treatment  [default: estimated]")
@click.option("--learner", type=click.Choice(LEARNERS), default="DR", show_default=True, help="whose effects target")
@click.option("--worth", default=1.0, show_default=True, help="money that a unit of the outcome is worth")
@click.option("--cost", multiple=True, default=("0",), help="money that treating a row costs, or NAME=COST of each")
@click.option("--budget", default=math.inf, help="money that treating all rows may cost  [default: no limit]")
@click.option("--replicates", default=100, show_default=True, help="bootstrap samples")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("uplift"), show_default=True)
def uplift_command(
    file: Path,
    treatment: str,
    control: str,
    outcome: str,
    features: str,
    unit: str | None,
    randomised: bool,
    propensity: str | None,
    learner: str,
    worth: float,
    cost: tuple[str, ...],
    budget: float,
    replicates: int,
    seed: int,
    out: Path,
) -> None:
    """Learn from a trial in FILE (CSV) what each treatment adds to the outcome of whom, and say whom to treat.

    \b
    Example, on the file of K. Hillstrom's e-mail challenge:
      value-model uplift hillstrom.csv.gz --treatment segment --control "No E-Mail" --outcome spend --randomised
        --features recency,history,history_segment,mens,womens,zip_code,newbie,channel --cost 0.1 --budget 1000

    OUT holds uplift.html (metrics, gain curves, calibration, targeting), uplift.json and targeting.csv, a row for each
    of FILE. Effects are of the treatment where --randomised or --propensity is true, or where the features hold all
    that decided who was treated. docs/uplift.md explains each figure.
    """
    from jobs.uplift.job import TargetingRequest, uplift
    from jobs.uplift.trial_file import TrialColumns

    if randomised and propensity is not None:
        raise click.UsageError("give --randomised or --propensity, one of them.")
    columns = TrialColumns(treatment, control, outcome, _listed(features), unit, propensity, randomised)
    request = TargetingRequest(learner, worth, _costs(cost), budget, replicates, seed)
    sys.exit(uplift(file, columns, request, out=out))
