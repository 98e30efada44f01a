"""Checks that find a value policy's harm before anyone is harmed: behind `value-model check-policy`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from marketplace.finding import Finding, Severity
from value_model.formula.logged_slates import LoggedSlates
from value_model.formula.policy_error import PolicyError
from value_model.formula.toml_reader import load_policy
from value_model.formula.validation import problems
from value_model.formula.value_policy import ValuePolicy
from value_model.policy_checks.calibration import HeadCalibration, logged_calibration
from value_model.policy_checks.directions import directions, erasures
from value_model.policy_checks.hazards import hazards
from value_model.policy_checks.on_slates import drawn, miscalibrated, shares, unanswered

__all__ = ["HeadCalibration", "check_policy", "check_policy_file", "logged_calibration"]

SEED = 0  # of the sampled slates: the same policy always has the same findings


def check_policy(
    policy: ValuePolicy,
    *,
    slates: LoggedSlates | None = None,
    calibration: HeadCalibration | None = None,
    rng: np.random.Generator | None = None,
) -> list[Finding]:
    """Every finding, errors first; `slates` add the shares of influence, `calibration` the heads that are off.

    A policy that breaks a rule of names, bounds or units is judged on those alone.
    """
    findings = problems(policy)
    if not findings:
        rng = np.random.default_rng(SEED) if rng is None else rng
        findings = [*hazards(policy), *directions(policy, rng), *erasures(policy, rng)]
        if slates is not None:
            findings += [*shares(policy, slates), *unanswered(policy, slates), *drawn(policy, slates)]
        findings += [] if calibration is None else miscalibrated(policy, calibration)
    return sorted(findings, key=lambda finding: (finding.severity is not Severity.ERROR, finding.where.line))


def check_policy_file(
    path: Path | str, *, slates: LoggedSlates | None = None, calibration: HeadCalibration | None = None
) -> list[Finding]:
    """The findings of a file, those that keep it from loading included."""
    try:
        policy = load_policy(path)
    except PolicyError as error:
        return list(error.findings)
    return check_policy(policy, slates=slates, calibration=calibration)
