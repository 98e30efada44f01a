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
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option("--treatment", default=None, help="the column that says who was treated with what")
@click.option("--control", default=None, help="its value for who was not treated")
@click.option("--outcome", default=None, help="the column of what came of it; of a run: order or order_value")
@click.option("--features", default="", help="columns of what was known before the treatment, with commas")
@click.option("--unit", default=None, help="the column of who it is: rows of one stand or fall together")
@click.option("--randomised", is_flag=True, help="every row had the same chances of each treatment")
@click.option("--propensity", default=None, help="the column of P(treated), of one treatment  [default: estimated]")
@click.option("--learner", type=click.Choice(LEARNERS), default="DR", show_default=True, help="whose effects target")
@click.option("--worth", default=1.0, show_default=True, help="money that a unit of the outcome is worth")
@click.option(
    "--cost", multiple=True, default=("0",), help="money that treating a row costs, or NAME=COST, once for each"
)
@click.option("--budget", default=math.inf, help="money that treating all rows may cost  [default: no limit]")
@click.option("--replicates", default=100, show_default=True, help="bootstrap samples")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("uplift"), show_default=True)
def uplift_command(
    source: Path,
    treatment: str | None,
    control: str | None,
    outcome: str | None,
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
    """Say whom a treatment moves, what that is worth, and whom to treat. SOURCE is a trial's file (CSV) or a run.

    \b
    Of a file: learners of every kind, judged on rows that they did not learn from, as on K. Hillstrom's e-mails:
      value-model uplift hillstrom.csv.gz --treatment segment --control "No E-Mail" --outcome visit --randomised
        --features recency,history,history_segment,mens,womens,zip_code,newbie,channel --worth 1.5 --cost 0.1
    Of a run whose lists say who was treated: its own heads, on the held-out requests:
      value-model uplift runs/coupons --outcome order_value --worth 0.15 --cost 0.05 --budget 500

    OUT holds uplift.html (metrics, gain curves, calibration, targeting), uplift.json and targeting.csv, a row for each
    of SOURCE. Effects are of the treatment where propensities are true: by a draw, as recorded, or because the features
    hold all that decided who was treated. docs/uplift.md explains each figure.
    """
    from jobs.uplift.job import TargetingRequest, uplift_of_file, uplift_of_run
    from jobs.uplift.trial_file import TrialColumns

    request = TargetingRequest(learner, worth, _costs(cost), budget, replicates, seed)
    if source.is_dir():
        if treatment or control or features or unit or propensity or randomised:
            raise click.UsageError("a run's lists say themselves who was treated: give --outcome and what it costs.")
        if outcome not in (None, "order", "order_value"):
            raise click.UsageError(f"--outcome {outcome}: of a run, order or order_value.")
        sys.exit(uplift_of_run(source, outcome or "order_value", request, out=out))
    if treatment is None or control is None or outcome is None:
        raise click.UsageError("of a file, give --treatment, --control, --outcome and --features.")
    if randomised and propensity is not None:
        raise click.UsageError("give --randomised or --propensity, one of them.")
    columns = TrialColumns(treatment, control, outcome, _listed(features), unit, propensity, randomised)
    sys.exit(uplift_of_file(source, columns, request, out=out))
