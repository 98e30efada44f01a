"""The desk: a policy in force, a draft of it, what the draft would change, and the versions saved so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from desk.checks import CheckReport, RefusedError, check_report
from desk.exploration import Exploration, explore
from desk.guardrails import GuardrailResult, guardrail_results, guardrails_of
from desk.material import Material
from desk.outcomes import PolicyOutcomes, config_of
from desk.scope import EVERYWHERE, Scope, scopes
from desk.side_by_side import RankChanges, SideBySide, rank_changes, side_by_side
from desk.versions import ChangeNote, VersionOrigin, VersionRecord, Versions, diff
from value_model.formula import ValuePolicy
from value_model.formula.value_policy import Weight
from value_model.formula.weights_in_money import weights_in_money
from value_model.tuning import Constraint, Prediction
from value_model.tuning.influence import Influence

REQUESTS, PLACES = 3, 10  # shown side by side at once


@dataclass(frozen=True)
class DeskView:
    """All that is seen of a draft in one scope, over its `requests`."""

    scope: Scope
    requests: int
    weights: Mapping[str, float]
    today: Mapping[str, float]
    prediction: Prediction
    guardrails: tuple[GuardrailResult, ...]
    rank_changes: RankChanges
    slates: tuple[SideBySide, ...]
    money: Mapping[str, str]


@dataclass(frozen=True)
class SavedVersion:
    """A version that was written, and what changed in the file."""

    record: VersionRecord
    diff: str


class Desk:
    """State of one person's work; all time and randomness are arguments."""

    def __init__(self, material: Material, *, seed: int = 0) -> None:
        self.material, self.versions, self._seed = material, Versions(material.versions), seed
        self.scope, self.page = EVERYWHERE, 0
        self.config = config_of(material.requests_per_day)
        self._put_in_force(self.versions.latest() or material.policy)

    def _put_in_force(self, policy: ValuePolicy) -> None:
        self.policy = self.draft = policy
        self._outcomes: dict[Scope, PolicyOutcomes] = {}

    @property
    def places(self) -> int:
        """How many places of a request are looked at."""
        return min(PLACES, self.material.evidence.examination.shape[1])

    @property
    def scopes(self) -> tuple[Scope, ...]:
        return scopes(self.material.evidence)

    @property
    def guardrails(self) -> tuple[Constraint, ...]:
        """The draft's constraints."""
        return guardrails_of(self.draft)

    @property
    def weights(self) -> tuple[Weight, ...]:
        """With unit, bounds, owner and reason."""
        return self.draft.weights

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(metric.name for metric in self._of(EVERYWHERE).metrics)

    def look(self, scope: Scope | None = None, *, page: int = 0) -> DeskView:
        """Turn to a scope and a page of its requests."""
        self.scope, self.page = scope or self.scope, page
        return self.view()

    def move(self, weights: Mapping[str, float]) -> DeskView:
        """Move some weights of the draft in the present scope."""
        unknown = weights.keys() - self.draft.weight.keys()
        if unknown:
            raise ValueError(f"weights {sorted(unknown)} are unknown; there are {sorted(self.draft.weight)}.")
        self.draft = self.scope.moved(self.draft, {n: float(w) for n, w in weights.items()})
        return self.view()

    def follow(self, name: str) -> DeskView:
        """Let a weight of the present surface or segment follow the global one again."""
        self.draft = self.scope.released(self.draft, name)
        return self.view()

    def restore(self, name: str) -> DeskView:
        """One weight of the present scope as it is in force."""
        self.draft = self.scope.restored(self.draft, self.policy, name)
        return self.view()

    def guard(self, subject: str, bound: float) -> DeskView:
        """Move the bound of a guardrail of the draft; `subject` is the constraint's."""
        moved = tuple(c.moved_to(bound) if c.subject == subject else c for c in self.guardrails)
        self.draft = replace(self.draft, constraints=moved)
        return self.view()

    def reset(self) -> DeskView:
        """Back to the policy in force."""
        self.draft = self.policy
        return self.view()

    def view(self) -> DeskView:
        outcomes = self._of(self.scope)
        top = outcomes.top if self.draft is self.policy else outcomes.order(self.draft)
        prediction = outcomes.prediction(self.draft, top)
        part = {"surface": None, "segment": None} | (
            {self.scope.dimension.value: self.scope.key} if self.scope.dimension else {}
        )
        return DeskView(
            scope=self.scope,
            requests=len(outcomes.evidence),
            weights=self.scope.weights(self.draft),
            today=self.scope.weights(self.policy),
            prediction=prediction,
            guardrails=guardrail_results(prediction, self.guardrails),
            rank_changes=rank_changes(outcomes.top, top, outcomes.evidence.shown),
            slates=side_by_side(self.material, self.policy, self.draft, self._requests(), most=self.places),
            money=weights_in_money(self.draft, **part),
        )

    def _requests(self) -> np.ndarray:
        """Row numbers of the page: requests that show more than one item, spread over the log."""
        evidence = self.material.evidence
        rows = np.flatnonzero(self.scope.rows(evidence) & (evidence.shown > 1))
        if not len(rows):
            return rows
        spread = np.random.default_rng(self._seed).permutation(rows)
        return spread[(self.page * REQUESTS + np.arange(min(REQUESTS, len(rows)))) % len(rows)]

    def _of(self, scope: Scope) -> PolicyOutcomes:
        if scope not in self._outcomes:
            evidence = self.material.evidence
            part = evidence if scope.dimension is None else evidence.take(scope.rows(evidence))
            self._outcomes[scope] = PolicyOutcomes(part, self.policy, config=self.config, seed=self._seed)
        return self._outcomes[scope]

    def explore(
        self, metrics: tuple[str, str] | None = None, *, progress: Callable[[int], None] | None = None
    ) -> Exploration:
        """Search, front and shadow prices around the draft in the present scope; takes seconds.

        `progress` is called with the number of weightings tried since. Raises ValueError where nothing can be searched.
        """
        objective = self._of(EVERYWHERE).objective
        if objective is None:
            raise ValueError("the requests hold no prediction of clicks, orders or sales: nothing to search for.")
        metrics = metrics or (next(m for m in self.metrics if m != objective.name), objective.name)
        held = tuple(c for c in self.guardrails if c.metric in self.metrics)
        return explore(
            self._of(self.scope).evidence,
            self.draft,
            self.scope,
            metrics=metrics,
            guardrails=held,
            config=self.config,
            seed=self._seed,
            progress=progress,
        )

    def load(self, explored: Exploration, point: int | None = None) -> DeskView:
        """Put a point of the front (None = the best within the guardrails) into the draft, in the scope of its search.

        On a surface or for a segment it becomes a decision, which is not shrunk: what is loaded is what was judged.
        """
        self.scope = explored.scope
        return self.move(explored.weights(point))

    def influence(self) -> tuple[Influence, ...]:
        """How much each weight of the draft decides, among the first places of the present scope's requests."""
        return self._of(self.scope).influence(self.draft, k=self.places)

    @property
    def diff(self) -> str:
        """What the draft changes in the file."""
        return diff(self.policy, self.draft)

    def check(self) -> CheckReport:
        """Every check of the draft, judged over all requests."""
        outcomes = self._of(EVERYWHERE)
        prediction = outcomes.prediction(self.draft, outcomes.order(self.draft))
        return check_report(self.material, self.policy, self.draft, guardrail_results(prediction, self.guardrails))

    def save(self, owner: str, reason: str, *, now: datetime, despite: bool = False) -> SavedVersion:
        """Write the draft as a new version, which is then in force; what moved bears the new owner and reason.

        Raises RefusedError without owner, reason or change, for an error that the draft brings, and for a guardrail
        that is expected to break unless `despite` it.
        """
        if not owner.strip() or not reason.strip():
            raise RefusedError("not saved: a version needs an owner and a reason.")
        if self.draft.version == self.policy.version:
            raise RefusedError("not saved: nothing was changed.")
        report = self.check()
        report.refuse(despite=despite)
        return self._write(
            self._signed(owner, reason), ChangeNote(VersionOrigin.SAVED, owner, reason, report.noted), now=now
        )

    def rollback(self, number: int, owner: str, reason: str, *, now: datetime) -> SavedVersion:
        """Put an earlier version in force again, as a new line of the history."""
        if not owner.strip() or not reason.strip():
            raise RefusedError("not rolled back: it needs an owner and a reason.")
        return self._write(self.versions.policy(number), ChangeNote(VersionOrigin.ROLLED_BACK, owner, reason), now=now)

    def history(self) -> tuple[VersionRecord, ...]:
        return self.versions.entries()

    def _signed(self, owner: str, reason: str) -> ValuePolicy:
        old = self.policy.weight
        changed = tuple(w if w == old[w.name] else replace(w, owner=owner, reason=reason) for w in self.draft.weights)
        held = tuple(
            c if c in guardrails_of(self.policy) else replace(c, owner=owner, reason=reason)
            for c in self.draft.constraints
        )
        return replace(self.draft, weights=changed, constraints=held)

    def _write(self, policy: ValuePolicy, note: ChangeNote, *, now: datetime) -> SavedVersion:
        if not self.versions.entries():
            initial = ChangeNote(VersionOrigin.FOUND, self.policy.owner, self.policy.reason)
            self.versions.add(self.policy, initial, now=now)
        changed = diff(self.policy, policy, names=(self.policy.version, policy.version))
        record = self.versions.add(policy, replace(note, predicted=self._predicted(policy)), now=now)
        self._put_in_force(policy)
        return SavedVersion(record, changed)

    def _predicted(self, policy: ValuePolicy) -> dict[str, str]:
        """The relative change of every metric, as it was predicted when the version was written."""
        outcomes = self._of(EVERYWHERE)
        prediction = outcomes.prediction(policy, outcomes.order(policy))
        return {name: str(change.relative) for name, change in prediction.changes.items()}
