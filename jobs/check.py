"""Say what is wrong before it costs anything: data against its mapping, a value policy against its rules."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def check_data(mapping: Path) -> int:
    """Print the findings on the exports that `mapping` names; 1 where one of them is an error."""
    from marketplace.check import check

    return _told(check(mapping, now=datetime.now(UTC)), of=mapping)


def check_policy(policy: Path, run: Path | None) -> int:
    """Print the findings on a policy file, tried on the held-out slates of `run` if given; 1 where it errs."""
    from value_model.formula import PolicyError, load_policy
    from value_model.formula.logged_slates import logged_slates
    from value_model.policy_checks import check_policy_file, logged_calibration

    slates, calibration = None, None
    if run is not None:
        folder = run / "evaluation"
        if not (folder / "slates.parquet").exists():
            raise FileNotFoundError(f"{folder} holds no slates: evaluate the run first (`value-model evaluate {run}`).")
        table = pq.read_table(folder / "slates.parquet")
        calibration = logged_calibration(table, pq.read_table(folder / "labels.parquet"))
        try:
            slates = logged_slates(table, load_policy(policy))
        except PolicyError:
            slates = None  # the file's own findings say why it cannot be tried
    return _told(check_policy_file(policy, slates=slates, calibration=calibration), of=policy)


def _told(findings: Iterable[Any], *, of: Path) -> int:
    errors, warnings = 0, 0
    for finding in findings:
        print(finding)
        errors += finding.severity == "error"
        warnings += finding.severity != "error"
    print(f"{of}: {errors} errors, {warnings} warnings" if errors or warnings else f"{of}: nothing to mend")
    return int(errors > 0)
