"""Admission of a data set to a run: what would stop it, or make it worthless, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from features.mapped import mapped_features
from jobs.config import RunConfig
from jobs.data import with_visits
from jobs.defaults import policy_of, spec_of
from jobs.mapped_report import echoes, notes
from marketplace.attribution import Attribution
from marketplace.dataset import Dataset
from marketplace.finding import FieldError, Finding, Where


def described(dataset: Dataset) -> Dataset:
    """The data set with its visits named, and notes of them and of the mapped features."""
    dataset = with_visits(dataset)
    return replace(dataset, notes=(*dataset.notes, *notes(mapped_features(dataset))))


def admission(dataset: Dataset, joined: Attribution | None, config: RunConfig) -> Iterator[Finding]:
    """Errors: features of one name, a policy in another currency. Warnings: features that give the answer away.

    `joined`: the data set's slates and events; None without slates.
    """
    for rule, reading in (("features", spec_of), ("currency", policy_of)):
        try:
            reading(dataset, config)
        except FieldError as error:
            yield Finding(rule, Where(config.data), f"{error.reason}.", error.fix)
    if joined is not None:
        yield from echoes(dataset, joined)
