"""What `value-model check-data` says: everything missing or odd in a data set, what was read, and what it allows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from marketplace.attribution import Attribution, attribute
from marketplace.census import census
from marketplace.dataset import Dataset
from marketplace.datasets.own import load_own
from marketplace.finding import Finding, Severity, errors
from marketplace.integrity import check_dataset
from marketplace.prospects import prospects, too_little
from marketplace.settled import settling_notes


@dataclass(frozen=True)
class DataCheck:
    """`findings` in order of harm: errors first, then by the share of rows.

    `dataset` None = it cannot be read; `joined` None = it has no lists, or is not sound.
    """

    dataset: Dataset | None
    joined: Attribution | None
    findings: tuple[Finding, ...]

    def lines(self, *, zone: tzinfo = UTC) -> Iterator[str]:
        """What was read, and, where a run could use it, what it allows."""
        if self.dataset is not None:
            yield from read_lines(self.dataset, self.joined, zone=zone)
            if not errors(self.findings):
                yield from prospects(self.dataset, self.joined)


def check(data: Dataset | Path | str, *, now: datetime | None = None) -> list[Finding]:
    """What is missing or odd in a data set, or in the exports that a mapping file (TOML) names, in order of harm.

    `now` is the moment after which no event can lie; None = not checked. Never raises for bad data.
    """
    return by_harm(_read(data, now)[1])


def data_check(data: Dataset | Path | str, *, now: datetime | None = None) -> DataCheck:
    """`check`, and whether what is sound is enough for a run."""
    dataset, findings = _read(data, now)
    joined = None
    if dataset is not None and not errors(findings):
        joined = joined_events(dataset)
        dataset = with_open_windows(dataset, joined)
        findings = [*findings, *too_little(dataset, joined)]
    return DataCheck(dataset, joined, tuple(by_harm(findings)))


def _read(data: Dataset | Path | str, now: datetime | None) -> tuple[Dataset | None, list[Finding]]:
    return (data, check_dataset(data, now=now)) if isinstance(data, Dataset) else load_own(data, now=now)


def by_harm(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, then by the share of rows."""
    return sorted(findings, key=lambda finding: (finding.severity is not Severity.ERROR, -finding.share))


def joined_events(dataset: Dataset) -> Attribution | None:
    """What became of every event; None without lists."""
    return attribute(dataset.slates, dataset.feedback) if dataset.has_impressions else None


def with_open_windows(dataset: Dataset, joined: Attribution | None) -> Dataset:
    """The data set, its notes saying of what the newest requests are too young to tell."""
    if joined is None or dataset.closed:
        return dataset
    return replace(dataset, notes=(*dataset.notes, *settling_notes(joined, dataset.feedback)))


def read_lines(dataset: Dataset, joined: Attribution | None, *, zone: tzinfo = UTC) -> Iterator[str]:
    """The census, and the notes of the reader."""
    yield from census(dataset, joined.counts if joined else None, zone=zone)
    yield from dataset.notes
