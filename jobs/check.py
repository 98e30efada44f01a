"""Say what is wrong before it costs anything: data against its mapping, a value policy against its rules."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from jobs.config import RunConfig
from marketplace.finding import Finding, errors

if TYPE_CHECKING:
    from marketplace.check import DataCheck


def check_data(mapping: Path, *, policy: str) -> int:
    """Print what was read of the exports that `mapping` names, what it allows, and the findings; 1 = errors.

    `policy`: the one that a run would be made with.
    """
    from marketplace.datasets.mapping import time_zone_of

    checked = run_check(mapping, policy=policy, now=datetime.now(UTC))
    print(*checked.lines(zone=time_zone_of(mapping)), sep="\n")
    return print_findings(checked.findings, of=mapping)


def run_check(mapping: Path, *, policy: str = "default", now: datetime | None = None) -> DataCheck:
    """What is missing or odd in the data, and what would stop a run of it."""
    from jobs.admission import Applicant
    from marketplace.check import by_harm, data_check

    checked = data_check(mapping, now=now)
    if checked.dataset is None or errors(checked.findings):
        return checked
    applicant = Applicant.of(checked.dataset)
    further = applicant.admission(checked.joined, RunConfig(data=str(mapping), policy=policy))
    return replace(checked, dataset=applicant.dataset, findings=tuple(by_harm([*checked.findings, *further])))


def check_policy(policy: Path, run: Path | None) -> int:
    """Print the findings on a policy file, tried on the held-out slates of `run` if given; 1 where it errs."""
    return print_findings(policy_findings(policy, run), of=policy)


def policy_findings(policy: Path, run: Path | None, *, calibrated: bool = True) -> list[Finding]:
    """What is wrong with a policy file; tried on the held-out slates of `run` if given.

    `calibrated`: the heads that it pays for must not be off there.
    """
    from value_model.formula import PolicyError, load_policy
    from value_model.formula.logged_slates import logged_slates
    from value_model.policy_checks import check_policy_file, logged_calibration

    if run is None:
        return check_policy_file(policy)
    folder = run / "evaluation"
    if not (folder / "slates.parquet").exists():
        raise FileNotFoundError(f"{folder} holds no slates: evaluate the run first (`value-model evaluate {run}`).")
    table, slates = pq.read_table(folder / "slates.parquet"), None
    calibration = logged_calibration(table, pq.read_table(folder / "labels.parquet")) if calibrated else None
    with suppress(PolicyError):  # the file's own findings say why it cannot be tried
        slates = logged_slates(table, load_policy(policy))
    return check_policy_file(policy, slates=slates, calibration=calibration)


def print_findings(findings: Sequence[Finding], *, of: Path) -> int:
    """One a line, and their count; 1 where one is an error."""
    print(*findings, sep="\n", end="\n" if findings else "")
    count = len(errors(findings))
    print(f"{of}: {count} errors, {len(findings) - count} warnings" if findings else f"{of}: nothing to mend")
    return int(count > 0)
