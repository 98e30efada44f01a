"""Say what is wrong before it costs anything: data against its mapping, a value policy against its rules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from marketplace.finding import Finding, errors


def check_data(mapping: Path) -> int:
    """Print what was read of the exports that `mapping` names, what it allows, and the findings; 1 = errors."""
    from marketplace.check import data_check
    from marketplace.datasets.mapping import time_zone_of

    checked = data_check(mapping, now=datetime.now(UTC))
    print(*checked.lines(zone=time_zone_of(mapping)), sep="\n")
    return _printed(checked.findings, of=mapping)


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
    return _printed(check_policy_file(policy, slates=slates, calibration=calibration), of=policy)


def _printed(findings: Sequence[Finding], *, of: Path) -> int:
    print(*findings, sep="\n", end="\n" if findings else "")
    count = len(errors(findings))
    print(f"{of}: {count} errors, {len(findings) - count} warnings" if findings else f"{of}: nothing to mend")
    return int(count > 0)
