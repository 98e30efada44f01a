"""Admission of a data set to a run: what would stop it, or make it worthless, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from features.mapped import MappedFeatures, mapped_features
from jobs.config import RunConfig
from jobs.data import with_visits
from jobs.defaults import policy_of, spec_of
from jobs.mapped_report import echoes, notes
from marketplace.attribution import Attribution
from marketplace.dataset import Dataset
from marketplace.finding import FieldError, Finding, Where


@dataclass(frozen=True)
class Applicant:
    """A data set with its visits named, notes of them and of its mapped features, and these."""

    dataset: Dataset
    mapped: MappedFeatures

    @classmethod
    def of(cls, dataset: Dataset) -> Applicant:
        dataset, mapped = with_visits(dataset), mapped_features(dataset)
        return cls(replace(dataset, notes=(*dataset.notes, *notes(mapped))), mapped)

    def admission(self, joined: Attribution | None, config: RunConfig) -> Iterator[Finding]:
        """Errors: features of one name, a policy in another currency. Warnings: features that give the answer away.

        `joined`: the data set's slates and events; None without slates.
        """
        try:
            spec_of(self.dataset, config, mapped=self.mapped)
        except FieldError as error:
            yield Finding("features", Where(config.data), f"{error.reason}.", error.fix)
        try:
            policy_of(self.dataset, config)
        except FieldError as error:
            yield Finding("currency", Where(config.data), f"{error.reason}.", error.fix)
        if joined is not None:
            yield from echoes(self.dataset, joined, self.mapped)
