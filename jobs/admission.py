"""Admission of a data set to a run: what would stop it, or make it worthless, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from features.mapped import MappedFeatures, context_entries, mapped_features
from features.spec import FeatureSpec
from jobs.config import RunConfig
from jobs.data import with_visits
from jobs.defaults import policy_of, spec_of
from jobs.mapped_report import echoes, notes
from marketplace.attribution import Attribution, recorded_labels
from marketplace.dataset import Dataset
from marketplace.finding import FieldError, Finding, Where, nearest
from marketplace.heads import learned_heads
from marketplace.treatment import recorded_arms
from serving.valuation import readable
from value_model.formula import ValuePolicy

OF_BASKETS = ("order", "order_value")  # labels of what was never shown: it could only be bought


@dataclass(frozen=True)
class Applicant:
    """A data set with its visits named, notes of them and of its mapped features, and these."""

    dataset: Dataset
    mapped: MappedFeatures

    @classmethod
    def of(cls, dataset: Dataset) -> Applicant:
        dataset, mapped = with_visits(dataset), mapped_features(dataset)
        return cls(replace(dataset, notes=(*dataset.notes, *notes(mapped, context=context_entries(dataset)))), mapped)

    def admission(self, joined: Attribution | None, config: RunConfig) -> Iterator[Finding]:
        """Errors: features of one name, a policy in another currency, or that reads what such data cannot teach.
        Warnings: features that give the answer away.

        `joined`: the data set's slates and events; None without slates.
        """
        spec = policy = None
        try:
            spec = spec_of(self.dataset, config, mapped=self.mapped)
        except FieldError as error:
            yield Finding("features", Where(config.data), f"{error.reason}.", error.fix)
        try:
            policy = policy_of(self.dataset, config)
        except FieldError as error:
            yield Finding("currency", Where(config.data), f"{error.reason}.", error.fix)
        if spec is not None and policy is not None and config.policy != "default":  # which leaves absent heads out
            yield from _unreadable(policy, spec, self.dataset)
        if joined is not None:
            yield from echoes(self.dataset, joined, self.mapped)


def _unreadable(policy: ValuePolicy, spec: FeatureSpec, dataset: Dataset) -> Iterator[Finding]:
    """What the policy reads and no ranker of these data can predict; events too rare for a head are seen later."""
    labels: tuple[str, ...] = (*recorded_labels(dataset.feedback), *recorded_arms(dataset.slates))
    if not dataset.has_impressions:
        labels = OF_BASKETS if "order_value" in labels else ()
    known = readable((head.name for head in learned_heads(labels)), spec)
    for name in policy.inputs:
        if name not in known:
            reason = f"the policy {policy.name!r} reads {name}, which these data teach no head and have no number of."
            yield Finding("heads", policy.where, reason, nearest(name, sorted(known)))
