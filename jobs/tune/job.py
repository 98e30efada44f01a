"""Tune a run's policy: search, judge, print, and write the page and, where it is promised, the policy file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jobs.run_evidence import RunEvidence, run_evidence
from jobs.tables import print_section
from jobs.tune.answer import Answer, answer, signed
from jobs.tune.question import SEED, Question, question
from jobs.tune.report import to_html
from jobs.tune.sections import sections, verdict
from value_model.formula import to_toml

STUDY, PAGE, POLICY = "study.db", "report.html", "policy.toml"


def tune(
    folder: Path,
    *,
    maximise: str,
    hold: Sequence[str] = (),
    weights: str = "",
    front: str = "",
    by: str | None = None,
    trials: int = 240,
    policy: Path | None = None,
    out: Path | None = None,
) -> int:
    """0 where weights are promised, 1 where nothing can be; the policy in force is left alone either way.

    Raises what `run_evidence` and `question` raise.
    """
    found = run_evidence(folder, rng=np.random.default_rng(SEED), policy=policy)
    asked = question(
        found.evidence, found.policy, maximise=maximise, hold=hold, weights=weights, front=front, by=by, trials=trials
    )
    out = out or folder / "tuning"
    out.mkdir(parents=True, exist_ok=True)
    answered = answer(
        found.evidence,
        found.policy,
        asked,
        requests_per_day=found.requests_per_day,
        storage=out / STUDY,
        progress=sys.stderr.isatty(),
    )
    _write(answered, found, folder, out)
    _print(answered, found, folder, out)
    return 0 if answered.tuned.promised else 1


def _write(answered: Answer, found: RunEvidence, folder: Path, out: Path) -> None:
    """The page, and the proposed policy; one of an earlier question is removed where this one has no promise."""
    goal, requests = answered.question.goal, f"{len(found.evidence):,} requests of {folder.name}"
    title = f"Weights of {found.policy.name} for {goal.maximise}"
    page = to_html(answered, title=title, facts=_facts(answered.question, found, folder), notes=found.notes)
    (out / PAGE).write_text(page, encoding="utf-8")
    (out / POLICY).unlink(missing_ok=True)
    if answered.tuned.promised:
        proposed = signed(answered.tuned.policy, found.policy, why=f"Tuned to maximise {goal.maximise} on {requests}")
        (out / POLICY).write_text(to_toml(proposed), encoding="utf-8")


def _print(answered: Answer, found: RunEvidence, folder: Path, out: Path) -> None:
    for line in (*found.notes, *verdict(answered)):
        print(f"   {line}")
    for section in sections(answered):
        print_section(section.head, section.rows, title=section.title, caption=section.said)
    print(f"   report: {out / PAGE}")
    if answered.tuned.promised:
        print(f"   proposed: {out / POLICY}; go on with `value-model check-policy {out / POLICY} --run {folder}`")


def _facts(asked: Question, found: RunEvidence, folder: Path) -> dict[str, str]:
    goal = asked.goal
    return {
        "run": folder.name,
        "policy": f"{found.policy.name}, version {found.policy.version}",
        "requests": f"{len(found.evidence):,} held out, {found.requests_per_day:,.0f} a day",
        "maximise": goal.maximise,
        "hold": "; ".join(map(str, goal.constraints)) or "nothing",
        "weights": ", ".join(asked.names) + (f", by {asked.by}" if asked.by else ""),
        "trials": str(asked.trials),
    }
