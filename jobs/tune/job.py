"""Tune a run's policy: search, judge, print, and write the page and, where it is promised, the policy file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from desk.versions import Versions
from jobs.run_evidence import RunEvidence, run_evidence
from jobs.tables import print_section
from jobs.tune.page import to_html
from jobs.tune.request import SEED, TuneRequest, tune_request
from jobs.tune.sections import sections, verdict
from jobs.tune.tuning_report import TuningReport, signed, tuning_report
from serving.bundle_service import POLICIES
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
    service: Path | None = None,
) -> int:
    """0 where weights are promised with a proven gain, 1 where today's are to be kept; none are put in force.

    `service`: the folder whose policies are published, None = the run's own.

    Raises what `run_evidence` and `tune_request` raise.
    """
    run = run_evidence(folder, rng=np.random.default_rng(SEED), policy=policy)
    baseline = Versions((service or folder) / POLICIES).baseline()
    evidence = run.evidence if baseline is None else run.reading(baseline)
    request = tune_request(
        evidence,
        run.policy,
        maximise=maximise,
        hold=hold,
        weights=weights,
        front=front,
        by=by,
        trials=trials,
        baseline=baseline,
    )
    out = out or folder / "tuning"
    out.mkdir(parents=True, exist_ok=True)
    report = tuning_report(
        evidence,
        run.policy,
        request,
        requests_per_day=run.requests_per_day,
        storage=out / STUDY,
        bar=sys.stderr.isatty(),
    )
    _write(report, run, folder, out)
    _print(report, run, service or folder, out)
    return 0 if report.tuned.advised else 1


def _write(report: TuningReport, run: RunEvidence, folder: Path, out: Path) -> None:
    """The page, and the proposed policy; one of an earlier request is removed where this one has no promise."""
    goal, requests = report.request.goal, f"{len(run.evidence):,} requests of {folder.name}"
    title = f"Weights of {run.policy.name} for {goal.maximise}"
    page = to_html(report, title=title, facts=_facts(report.request, run, folder), notes=run.notes)
    (out / PAGE).write_text(page, encoding="utf-8")
    (out / POLICY).unlink(missing_ok=True)
    if report.tuned.advised:
        proposed = signed(report.tuned.policy, run.policy, why=f"Tuned to maximise {goal.maximise} on {requests}")
        (out / POLICY).write_text(to_toml(proposed), encoding="utf-8")


def _print(report: TuningReport, run: RunEvidence, folder: Path, out: Path) -> None:
    for line in (*run.notes, *verdict(report)):
        print(f"   {line}")
    for section in sections(report):
        print_section(section.head, section.rows, title=section.title, caption=section.caption)
    print(f"   report: {out / PAGE}")
    if report.tuned.advised:
        print(f"   proposed: {out / POLICY}; put it in force with")
        base = f" --base {run.policy.version}"
        print(f"     value-model publish {out / POLICY} {folder} --by OWNER --why REASON{base}")


def _facts(request: TuneRequest, run: RunEvidence, folder: Path) -> dict[str, str]:
    goal = request.goal
    return {
        "run": folder.name,
        "policy": f"{run.policy.name}, version {run.policy.version}",
        "requests": f"{len(run.evidence):,} held out, {run.requests_per_day:,.0f} a day",
        "maximise": goal.maximise,
        "hold": "; ".join(map(str, goal.constraints)) or "nothing",
        "weights": ", ".join(request.names) + (f", by {request.by}" if request.by else ""),
        "trials": str(request.trials),
    }
