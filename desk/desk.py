"""The desk: a policy in force, a draft of it, what the draft would change, and the versions saved so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from desk.checks import CheckReport, check_report
from desk.exploration import Exploration, explore
from desk.guardrails import GuardrailResult, guardrail_results, guardrails_of
from desk.material import Material
from desk.outcomes import PolicyOutcomes, config_of
from desk.policy_changes import PolicyChange, changes, merged
from desk.publication import FolderService, RefusedError, SavedVersion, agreement, publish, roll_back
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


class Desk:
    """State of one person's work; all time and randomness are arguments."""

    def __init__(self, material: Material, *, seed: int = 0) -> None:
        self.material, self.versions, self._seed = material, Versions(material.versions), seed
        self.scope, self.page = EVERYWHERE, 0
        self.draft = material.policy
        self.config = config_of(material.requests_per_day)
        self.service = material.service or FolderService(self.versions, material.policy)
        self.renew()

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
            guardrails=guardrail_results(self._held(prediction), self.guardrails),
            rank_changes=rank_changes(outcomes.top, top, outcomes.evidence.shown),
            slates=side_by_side(self.material, self.policy, self.draft, self._requests(), most=self.places),
            money=weights_in_money(self.draft, **part),
        )

    def _held(self, prediction: Prediction) -> Prediction:
        """The draft against the baseline in the present scope: `prediction`, where the baseline is in force."""
        if self.baseline.version == self.policy.version:
            return prediction
        return self._prediction(self.draft, self.scope, against=self.baseline)

    def _requests(self) -> np.ndarray:
        """Row numbers of the page: requests that show more than one item, spread over the log."""
        evidence = self.material.evidence
        rows = np.flatnonzero(self.scope.rows(evidence) & (evidence.shown > 1))
        if not len(rows):
            return rows
        spread = np.random.default_rng(self._seed).permutation(rows)
        return spread[(self.page * REQUESTS + np.arange(min(REQUESTS, len(rows)))) % len(rows)]

    def _of(self, scope: Scope, policy: ValuePolicy | None = None) -> PolicyOutcomes:
        """Of a scope's requests under `policy`, None = in force."""
        policy = policy or self.policy
        key = scope, policy.version
        if key not in self._outcomes:
            evidence = self.material.evidence
            part = evidence if scope.dimension is None else evidence.take(scope.rows(evidence))
            self._outcomes[key] = PolicyOutcomes(part, policy, config=self.config, seed=self._seed)
        return self._outcomes[key]

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
        evidence = self.material.searched
        return explore(
            evidence if self.scope.dimension is None else evidence.take(self.scope.rows(evidence)),
            self.draft,
            self.scope,
            metrics=metrics,
            guardrails=held,
            baseline=self.baseline,
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

    def check(self, policy: ValuePolicy | None = None) -> CheckReport:
        """Every check of a policy, None = the draft, judged over all requests; guardrails against the baseline."""
        policy = self.draft if policy is None else policy
        held = guardrail_results(self._prediction(policy, EVERYWHERE, against=self.baseline), guardrails_of(policy))
        return check_report(self.material, self.policy, policy, held)

    def save(
        self,
        owner: str,
        reason: str,
        *,
        now: datetime,
        despite: bool = False,
        approved_by: Sequence[str] = (),
        share: float = 1.0,
        reviewed: bool = False,
        key: str = "",
    ) -> SavedVersion:
        """Put the draft in force, everywhere or for a share of the shoppers; moved weights bear the reason.

        `key`: name of the API key by which it came.

        Raises what `put_in_force` raises.
        """
        kind = self._kind if share == 1 else VersionOrigin.STAGED
        note = ChangeNote(
            kind,
            owner,
            reason,
            base=self.policy.version,
            approved_by=tuple(approved_by),
            share=share,
            reviewed=reviewed,
            key=key,
        )
        return self.put_in_force(self._reasoned(reason), note, now=now, despite=despite)

    def put_in_force(
        self, policy: ValuePolicy, note: ChangeNote, *, now: datetime, despite: bool = False
    ) -> SavedVersion:
        """Publish a policy that was made from version `note.base`.

        Raises RefusedError without owner, reason, change or another owner's agreement, for an error that it brings, and
        for a guardrail that is expected to break unless `despite` it; StaleBase where another was published since.
        """
        if not note.owner.strip() or not note.reason.strip():
            raise RefusedError("not published: a version needs an owner and a reason.")
        if policy.version == self.policy.version and (self.trial is None or note.share != 1):
            raise RefusedError("not published: nothing was changed.")
        report = self.check(policy)
        report.refuse(despite=despite)
        changed = diff(self.policy, policy, names=(self.policy.version, policy.version))
        note = replace(note, noted=report.noted, predicted=self._predicted(policy))
        record = publish(policy, note, versions=self.versions, service=self.service, now=now)
        self.renew()
        return SavedVersion(record, changed)

    def rollback(self, number: int | None, owner: str, reason: str, *, now: datetime) -> SavedVersion:
        """Put an earlier version in force again, as a new line of the history; None = end the trial, or one back.

        Raises RefusedError without owner or reason.
        """
        before = self.policy
        note = ChangeNote(VersionOrigin.ROLLED_BACK, owner, reason)
        record = roll_back(number, note, versions=self.versions, service=self.service, now=now)
        self.renew()
        return SavedVersion(record, diff(before, self.policy, names=(before.version, self.policy.version)))

    def renew(self) -> None:
        """Begin again from what is served now."""
        served = self.service.served()
        self.policy = self.draft = served.policy
        self.trial = served.trial
        self.baseline = self.versions.baseline() or self.policy
        self._outcomes: dict[tuple[Scope, str], PolicyOutcomes] = {}

    @property
    def behind(self) -> tuple[PolicyChange, ...]:
        """What others have put in force since this desk's policy was read."""
        return changes(self.policy, self.service.served().policy)

    def bring_in(self) -> DeskView:
        """Take over what others put in force since; the draft keeps its own changes.

        Raises MergeConflict where both changed the same parts.
        """
        draft = merged(self.policy, self.service.served().policy, self.draft)
        self.renew()
        self.draft = draft
        return self.view()

    def agreement(self, owner: str, *, reviewed: bool = False) -> Mapping[str, tuple[str, ...]]:
        """By owner beside `owner`, what of theirs the draft changes: they must agree before it is published."""
        return agreement(self.policy, self.draft, owner=owner, reviewed=reviewed)

    def history(self) -> tuple[VersionRecord, ...]:
        return self.versions.entries()

    @property
    def _kind(self) -> VersionOrigin:
        return VersionOrigin.SAVED if self.material.service is None else VersionOrigin.PUBLISHED

    def _reasoned(self, reason: str) -> ValuePolicy:
        """The draft, whose moved weights and bounds say why; their owners stay: they are asked to agree."""
        old = self.policy.weight
        moved = tuple(w if w == old[w.name] else replace(w, reason=reason) for w in self.draft.weights)
        known = guardrails_of(self.policy)
        held = tuple(c if c in known else replace(c, reason=reason) for c in self.draft.constraints)
        return replace(self.draft, weights=moved, constraints=held)

    def _prediction(self, policy: ValuePolicy, scope: Scope, *, against: ValuePolicy) -> Prediction:
        outcomes = self._of(scope, against)
        return outcomes.prediction(policy, outcomes.order(policy))

    def _predicted(self, policy: ValuePolicy) -> dict[str, str]:
        """The relative change of every metric, as it was predicted when the version was written."""
        prediction = self._prediction(policy, EVERYWHERE, against=self.policy)
        return {name: str(change.relative) for name, change in prediction.changes.items()}
