"""Every check before a version is put in force, and which findings stand in its way.

What is already so with the policy in force (a head that is off, say) is told but blocks nobody: moving weights did not
cause it. An error that the draft brings, or a guardrail expected to break, does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from desk.guardrails import GuardrailResult, GuardrailStatus
from desk.material import Material
from desk.publication import RefusedError
from marketplace.finding import Finding, Severity
from value_model.formula import ValuePolicy
from value_model.policy_checks import check_policy

UNJUDGED = "[slate] changes, and what is predicted is of rankings by value, without exploration, rules and promises."
STAGE = "Stage it to a share of the shoppers, and see what becomes of them."


@dataclass(frozen=True)
class CheckReport:
    """`new` findings come with the draft, `standing` ones are there already; `guardrails` are the guardrails."""

    new: tuple[Finding, ...]
    standing: tuple[Finding, ...]
    guardrails: tuple[GuardrailResult, ...]

    @property
    def errors(self) -> tuple[str, ...]:
        return tuple(str(finding) for finding in self.new if finding.severity is Severity.ERROR)

    @property
    def broken(self) -> tuple[str, ...]:
        return tuple(row.reason for row in self.guardrails if row.status is GuardrailStatus.RED)

    @property
    def noted(self) -> tuple[str, ...]:
        """What an owner who saves nevertheless has seen."""
        warned = (str(finding) for finding in self.new if finding.severity is not Severity.ERROR)
        unproven = (row.reason for row in self.guardrails if row.status is GuardrailStatus.AMBER)
        return (*warned, *unproven, *self.broken)

    def refuse(self, *, despite: bool) -> None:
        """Raises RefusedError with every error; with broken guardrails too unless `despite` them."""
        why = (*self.errors, *(() if despite else self.broken))
        if why:
            raise RefusedError("not published: " + "; ".join(why))


def check_report(
    material: Material, today: ValuePolicy, draft: ValuePolicy, guardrails: Sequence[GuardrailResult]
) -> CheckReport:
    """Both policies under every check, on the requests of the desk."""
    before, after = (
        check_policy(policy, slates=material.evidence.slates, calibration=material.calibration)
        for policy in (today, draft)
    )
    known = {(finding.rule, finding.reason) for finding in before}
    new = tuple(f for f in after if (f.rule, f.reason) not in known)
    if draft.slate != today.slate:
        new += (Finding("unjudged", draft.where, UNJUDGED, STAGE, Severity.WARNING),)
    return CheckReport(new, tuple(f for f in after if (f.rule, f.reason) in known), tuple(guardrails))
