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
    _print(answered, found.notes)
    _write(answered, found, folder, out)
    return 0 if answered.tuned.promised else 1


def _print(answered: Answer, notes: Sequence[str]) -> None:
    for line in (*notes, *verdict(answered)):
        print(f"   {line}")
    for section in sections(answered):
        print_section(section.head, section.rows, title=section.title, caption=section.said)


def _write(answered: Answer, found: RunEvidence, folder: Path, out: Path) -> None:
    """The page, and the proposed policy; one of an earlier question that is no longer promised is removed."""
    title = f"Weights of {found.policy.name} for {answered.question.goal.maximise}"
    page = to_html(answered, title=title, facts=_facts(answered.question, found, folder), notes=found.notes)
    (out / PAGE).write_text(page, encoding="utf-8")
    print(f"   report: {out / PAGE}")
    if answered.tuned.promised:
        requests = f"{len(found.evidence):,} requests of {folder.name}"
        why = f"Tuned to maximise {answered.question.goal.maximise} on {requests}"
        (out / POLICY).write_text(to_toml(signed(answered.tuned.policy, found.policy, why=why)), encoding="utf-8")
        print(f"   proposed: {out / POLICY}; go on with `value-model check-policy {out / POLICY} --run {folder}`")
    else:
        (out / POLICY).unlink(missing_ok=True)


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
