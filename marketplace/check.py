"""What `value-model check-data` says: everything missing or odd in a data set, with rows and fixes."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from marketplace.dataset import Dataset
from marketplace.datasets.own import load_own
from marketplace.finding import Finding, Severity
from marketplace.integrity import check_dataset


def check(data: Dataset | Path | str, *, now: datetime | None = None) -> list[Finding]:
    """The findings on a data set, or on the exports that a mapping file (TOML) names; errors first.

    `now` is the moment after which no event can lie; None = not checked. Never raises for bad data.
    """
    findings = check_dataset(data, now=now) if isinstance(data, Dataset) else load_own(data, now=now)[1]
    return sorted(findings, key=lambda finding: finding.severity is not Severity.ERROR)
