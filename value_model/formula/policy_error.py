"""The error of a policy that cannot be used."""

from __future__ import annotations

from marketplace.finding import DataError, Finding, Where


class PolicyError(DataError):
    """A policy cannot be used; `findings` are all the reasons."""


def refuse(rule: str, where: Where, reason: str, fix: str) -> PolicyError:
    """The error of a single finding."""
    return PolicyError([Finding(rule, where, reason, fix)])
