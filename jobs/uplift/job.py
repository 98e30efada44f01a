"""Learn effects from a trial, judge them on held-out rows, choose whom to treat: a page, a table, figures as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from evaluation import plots
from evaluation.estimate import Estimate
from evaluation.report import svg, template
from evaluation.uplift.held_out import HeldOut, held_out_effects
from evaluation.uplift.trial import Trial
from jobs.tables import print_section
from jobs.uplift.answers import TargetingAnswer, TreatmentAnswer, targeting_answer, treatment_answer
from jobs.uplift.run_trial import EFFECT, HEADS, run_trial
from jobs.uplift.sections import sections, verdict
from jobs.uplift.trial_file import TrialColumns, read_trial
from value_model.rankers.tree_learner import TreeLearner, effect_ladder

TEMPLATE = Path(__file__).parent.parent / "tune" / "report.html.jinja"
ESTIMATED = "Propensities are estimated: effects hold as far as the features hold all that decided who was treated."
GAINS = "Extra outcome per row if the share that scores best is treated; bands are 95 % intervals; dotted: at random."
CALIBRATION = "Predicted effect against doubly robust scores in ten bins; bands are 95 % intervals; dotted: calibrated."
KNOWN = "Propensities are those of the data."
DRAWN = "Propensities are the arms' shares: every row is taken to have had the same chances."


@dataclass(frozen=True)
class TargetingRequest:
    """What treating costs and brings: `costs` by treatment and `budget` in money, `worth` per unit of outcome."""

    learner: str = "DR"
    worth: float = 1.0
    costs: Mapping[str, float] | float = 0.0
    budget: float = np.inf
    replicates: int = 100
    seed: int = 0

    def of(self, treatments: tuple[str, ...]) -> np.ndarray:
        """[A]: the treatments' costs; raises ValueError for a name that is none of them."""
        if not isinstance(self.costs, Mapping):
            return np.full(len(treatments), self.costs)
        unknown = [name for name in self.costs if name not in treatments]
        if unknown:
            raise ValueError(f"cost of {', '.join(unknown)}: the treatments are {', '.join(treatments)}.")
        return np.array([self.costs.get(name, 0.0) for name in treatments])


def uplift_of_file(file: Path, columns: TrialColumns, request: TargetingRequest, *, out: Path) -> int:
    """0; learns effects from the trial in a file, and answers (`_answer`)."""
    trial, categories = read_trial(file, columns)
    costs = request.of(trial.arms[1:])
    print(f"   {file.name}: {len(trial.arm):,} rows, {trial.counts()}")
    held_out = held_out_effects(
        trial, TreeLearner(categories), np.random.default_rng(request.seed), ladder=effect_ladder(categories)
    )
    note = DRAWN if columns.randomised else ESTIMATED if columns.propensity is None else KNOWN
    facts = {"file": file.name, "treatment": columns.treatment, "features": ", ".join(columns.features)}
    return _answer(trial, held_out, request, costs, outcome=columns.outcome, facts=facts, note=note, out=out)


def uplift_of_run(folder: Path, outcome: str, request: TargetingRequest, *, out: Path) -> int:
    """0; the run's own heads on its held-out lists, by `outcome`: "order" or "order_value"."""
    trial, held_out = run_trial(folder, outcome)
    request = replace(request, learner=HEADS)
    print(f"   {folder.name}: {len(trial.arm):,} items shown of the held-out requests, {trial.counts()}")
    facts = {"run": folder.name, "head": EFFECT[outcome]}
    costs = request.of(trial.arms[1:])
    return _answer(trial, held_out, request, costs, outcome=outcome, facts=facts, note=KNOWN, out=out)


def _answer(
    trial: Trial,
    held_out: HeldOut,
    request: TargetingRequest,
    costs: np.ndarray,
    *,
    outcome: str,
    facts: Mapping[str, str],
    note: str,
    out: Path,
) -> int:
    """Writes OUT/uplift.html, OUT/uplift.json and OUT/targeting.csv, and prints the tables."""
    rng, learner = np.random.default_rng([request.seed, 1]), request.learner
    answers = {
        name: treatment_answer(trial, held_out, arm, rng=rng, replicates=request.replicates)
        for arm, name in enumerate(trial.arms)
        if arm
    }
    targeting = targeting_answer(
        trial, held_out, learner=learner, worth=request.worth, costs=costs, budget=request.budget, rng=rng
    )
    notes = (note, *held_out.warnings)
    lines, tables = verdict(answers, targeting, learner=learner), sections(trial, answers, targeting)
    for line in (*notes, *lines):
        print(f"   {line}")
    for section in tables:
        print_section(section.head, section.rows, title=section.title, caption=section.caption)
    out.mkdir(parents=True, exist_ok=True)
    page = template(TEMPLATE).render(
        title=f"Uplift on {outcome}",
        facts=dict(facts) | _facts(trial, request, costs),
        notes=notes,
        promised=lines[0].startswith("Targeting") and "pays" in lines[0],
        verdict=lines,
        sections=tables,
        pictures=_pictures(answers, outcome),
    )
    (out / "uplift.html").write_text(page, encoding="utf-8")
    figures = json.dumps(_json(answers, targeting), indent=1, allow_nan=False)
    (out / "uplift.json").write_text(figures + "\n", encoding="utf-8")
    pacsv.write_csv(_table(trial, held_out, targeting, learner), out / "targeting.csv")
    print(f"   page: {out / 'uplift.html'}")
    return 0


def _facts(trial: Trial, request: TargetingRequest, costs: np.ndarray) -> dict[str, str]:
    named = ", ".join(f"{name} {cost:g}" for name, cost in zip(trial.arms[1:], costs, strict=True))
    return {
        "rows": trial.counts(),
        "worth of a unit of the outcome": f"{request.worth:g}",
        "costs": named,
        "budget": "none" if request.budget == np.inf else f"{request.budget:g}",
        "targets by": request.learner,
        "seed": str(request.seed),
    }


def _pictures(answers: Mapping[str, TreatmentAnswer], outcome: str) -> list[tuple[str, str, str]]:
    """(title, caption, picture) of each treatment's gain curves and calibration."""
    pictures = []
    for name, answer in answers.items():
        gains = plots.gains(answer.gains, unit=outcome)
        calibration = plots.calibration(answer.calibration, unit=f"effect on {outcome}", logarithmic=False)
        pictures.append((f"{name}: gain of the best-scored share", GAINS, svg(gains)))
        pictures.append((f"{name}: calibration of the effect", CALIBRATION, svg(calibration)))
    return pictures


def _table(trial: Trial, held_out: HeldOut, targeting: TargetingAnswer, learner: str) -> pa.Table:
    """One row a row of the trial, in its order: whom to treat with what, and the effect expected of each treatment."""
    columns = {"row": np.arange(len(trial.arm)) + 1, "treat": np.array(trial.arms)[targeting.chosen.arm]}
    effects = held_out.effects[learner]
    return pa.table(columns | {f"effect of {name}": effects[:, a] for a, name in enumerate(trial.arms[1:])})


def _json(answers: Mapping[str, TreatmentAnswer], targeting: TargetingAnswer) -> dict[str, Any]:
    return {
        "treatments": {
            name: {by: {key: _number(value) for key, value in row.items()} for by, row in answer.metrics.items()}
            for name, answer in answers.items()
        },
        "targeting": {
            name: {"treated": value.treated, "cost": value.cost, "gain": _number(value.gain)}
            for name, value in targeting.values.items()
        },
        "price": targeting.chosen.price,
    }


def _number(estimate: Estimate) -> dict[str, Any]:
    fields = {key: value for key, value in asdict(estimate).items() if key in ("value", "low", "high", "n", "level")}
    return {key: value if isfinite(value) else None for key, value in fields.items()}
