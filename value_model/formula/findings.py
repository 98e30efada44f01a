"""What is wrong with a policy file: where, why, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """An error would rank wrongly or not at all; a warning deserves a look before traffic."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Where:
    """A line of a policy file; line 0 = the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Finding:
    """One problem, under the name of the rule that found it."""

    rule: str
    where: Where
    reason: str
    fix: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        return f"{self.where}: {self.severity}: {self.reason} Fix: {self.fix} [{self.rule}]"


class PolicyError(ValueError):
    """A policy cannot be used; `findings` are all the reasons, one a line in the message."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(map(str, self.findings)))


def refuse(rule: str, where: Where, reason: str, fix: str) -> PolicyError:
    """The error of a single finding."""
    return PolicyError([Finding(rule, where, reason, fix)])
