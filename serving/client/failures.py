"""Failures: what a call raises where the service refuses it, or does not answer."""

from __future__ import annotations

from serving.payloads import Problem


class ServiceProblem(ValueError):
    """A refusal: the fields of its problem details, and the id under which the service's log has it."""

    def __init__(self, *, status: int, title: str, detail: str, problems: list[Problem], request_id: str) -> None:
        reasons = "; ".join(f"{one.field}: {one.message}" if one.field else one.message for one in problems)
        super().__init__(f"{status} {title}: {detail}" + (f" ({reasons})" if reasons else ""))
        self.status, self.title, self.detail = status, title, detail
        self.problems, self.request_id = problems, request_id


class NoAnswer(ConnectionError):
    """The service did not answer in time, or not at all."""
