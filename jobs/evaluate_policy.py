"""Evaluate a policy file on the requests of a run or of a service's log: a page, a JSON file and the screen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.report import template
from jobs.policy_evaluation_report import sections, to_json, verdict
from jobs.run_evidence import log_evidence, run_evidence
from jobs.tables import print_section
from marketplace.log_place import Place, home_of, is_log, shown_place
from value_model.formula import load_policy
from value_model.tuning import PredictConfig
from value_model.tuning.policy_evaluation import EVERYWHERE, PolicyEvaluation, evaluate_policy

SEED = 0
TEMPLATE = Path(__file__).parent / "tune" / "report.html.jinja"
RULED = "The policy's [slate] section is left out: rankings by value are compared, without exploration and slate rules."


def evaluate(source: Place, policy: Path, *, out: Path | None = None, json_file: Path | None = None) -> int:
    """0; `source` = a run's folder or a service's log. The policy in force is left alone.

    Raises PolicyError for a policy that cannot be read, and what `run_evidence` and `log_evidence` raise.
    """
    proposed = load_policy(policy)
    rng = np.random.default_rng(SEED)
    run = log_evidence(source, rng=rng) if is_log(source) else run_evidence(Path(source), rng=rng)
    config = PredictConfig(requests_per_day=run.requests_per_day)
    evaluation = evaluate_policy(run.reading(proposed), run.policy, proposed, rng=rng, config=config)
    notes = (*run.notes, *([] if proposed.slate is None else [RULED]), *_warnings(evaluation))
    page = out or (home_of(source) if is_log(source) else Path(source)) / "policy_evaluation.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(_page(evaluation, notes, source), encoding="utf-8")
    if json_file is not None:
        json_file.write_text(json.dumps(to_json(evaluation, notes), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    for line in (*notes, *verdict(evaluation)):
        print(f"   {line}")
    for section in sections(evaluation):
        print_section(section.head, section.rows, title=section.title, caption=section.caption)
    print(f"   page: {page}")
    return 0


def _warnings(evaluation: PolicyEvaluation) -> tuple[str, ...]:
    """What the weights' own diagnostics say, of what `problems` does not."""
    weights = evaluation.prediction.trust.weights
    return () if weights is None else tuple(f"Look twice: {problem}." for problem in weights.problems(fewest=0))


def _page(evaluation: PolicyEvaluation, notes: Sequence[str], source: Place) -> str:
    proposed, in_force = evaluation.proposed, evaluation.in_force
    facts = {
        "log": shown_place(source).rpartition("/")[2],
        "policy": f"{proposed.name}, version {proposed.version}",
        "in force": f"{in_force.name}, version {in_force.version}",
        "requests": f"{evaluation.parts[EVERYWHERE].requests:,}",
    }
    lines = verdict(evaluation)
    return template(TEMPLATE).render(
        title=f"What {proposed.name} would have brought",
        facts=facts,
        notes=notes,
        promised=evaluation.prediction.promised and not lines[0].startswith("Worse"),
        verdict=lines,
        sections=sections(evaluation),
        pictures=[],
    )
