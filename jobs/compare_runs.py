"""Runs side by side: the settings that differ, and what each served is worth on the same requests, paired.

Every metric is that of the ranker which the run chose, on its test period; intervals of differences are over shoppers,
with the same shoppers drawn for all runs. Runs that judge other requests, or other items for them, are not compared.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evaluation import bootstrap
from evaluation.compare import Comparison
from evaluation.estimate import Estimate
from evaluation.report import COHORT, Report, build_report, write_report
from jobs.judged import HITS, JUDGED, REQUEST, kept_judged
from jobs.run_file import SETTINGS, toml_value
from jobs.run_folder import RunFolder
from jobs.run_rankers import choice_of
from jobs.tables import HEADLINE, print_section
from marketplace.dataset import load_dataset
from marketplace.slate_columns import flat, item_offsets, to_numpy

SEED = 0  # of the intervals
BEYOND_CHANCE = "* = the interval of the difference excludes 0"
COLUMNS = (*REQUEST, "item_id", "value")


class OtherRequests(ValueError):
    """Runs that were judged on different requests, or on none: a difference of their metrics would say nothing."""


@dataclass(frozen=True)
class JudgedRun:
    """What one run served on its test period: SLATE columns [R], heads and labels [N], the rows that count,
    and cohorts of them."""

    name: str
    served: str
    slates: pa.Table
    heads: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]
    counted: np.ndarray
    cohorts: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, run: RunFolder, *, name: str) -> JudgedRun:
        """Raises FileNotFoundError for a run that was not evaluated, OtherRequests for one that learned no head."""
        folder = run.path / "evaluation"
        if not run.heads:
            raise OtherRequests(f"{run.path} learned no head: of it there is nothing to compare but retrieval")
        if not (folder / JUDGED).exists():
            raise FileNotFoundError(f"{run.path} is not evaluated: do `value-model evaluate {run.path}` first.")
        served, slates = choice_of(run).served, pq.read_table(folder / "slates.parquet", columns=list(COLUMNS))
        with np.load(run.path / "ranker" / f"held_out_{served}.npz", allow_pickle=False) as predictions:
            heads = dict(predictions) | {"value": flat(slates, "value").to_numpy()}
        return cls(name, served, slates, heads, *kept_judged(folder / JUDGED))

    def differs(self, other: JudgedRun) -> str:
        """Why both cannot be compared; nothing where they can."""
        ours, theirs = (set(run.slates["request_id"].to_pylist()) for run in (self, other))
        if ours != theirs or not self.slates["time"].equals(other.slates["time"]):
            shared = "" if ours == theirs else f"; {len(ours & theirs):,} are in both"
            return f"other requests were judged: {self.period} in {self.name}, {other.period} in {other.name}{shared}"
        if not self.slates["item_id"].equals(other.slates["item_id"]):
            return f"other candidates were judged for the same requests in {self.name} and {other.name}"
        return ""

    @property
    def period(self) -> str:
        times = self.slates["time"].to_numpy()
        first, last = (np.datetime_as_string(edge(times), unit="m") for edge in (np.min, np.max))
        return f"{len(times):,} requests of {first} .. {last}"


def compare(folders: Sequence[Path], *, out: Path) -> None:
    """Print settings that differ, recall and metrics, and write the page; the first run is what others are held to.

    Raises OtherRequests where the runs' metrics cannot be compared.
    """
    runs = {name: RunFolder.open(folder) for name, folder in zip(names_of(folders), folders, strict=True)}
    settings, recall = list(differing(runs)), list(recall_of(runs))
    print_section(("setting", *runs), settings, title="settings that differ", caption="" if settings else "none")
    if recall:
        print_section(headings("recall", runs), recall, title="retrieval, merged sources", caption=BEYOND_CHANCE)
    judged = [JudgedRun.of(run, name=name) for name, run in runs.items()]
    for one in judged[1:]:
        if reason := judged[0].differs(one):
            raise OtherRequests(f"{reason}. Give the runs the same data and [periods], and without lists [retrieval].")
    notes = [_note(("setting", *runs), row) for row in settings]
    notes += [_note(headings("recall", runs), row) for row in recall]
    currency = load_dataset(runs[judged[0].name].path / "data").currency
    report = report_of(judged, notes=notes, currency=currency)
    rows = metric_rows(report.comparison)
    print_section(headings("metric", runs), rows, title=f"test period, {judged[0].period}", caption=BEYOND_CHANCE)
    for cohort, part in report.slices.get(COHORT, {}).items():
        print_section(headings("metric", runs), metric_rows(part), title=cohort, caption=BEYOND_CHANCE)
    print(f"   report: {write_report(report, out)}")


def report_of(judged: Sequence[JudgedRun], *, notes: Sequence[str], currency: str) -> Report:
    """The page of runs that were judged on the same requests; heads that not all of them learned are left out."""
    first = judged[0]
    labels = {name: label for name, label in first.labels.items() if all(name in one.labels for one in judged)}
    return build_report(
        {one.name: one.heads for one in judged},
        labels,
        item_offsets(first.slates),
        title=" against ".join(one.name for one in judged),
        baseline=first.name,
        rng=np.random.default_rng(SEED),
        currency=currency,
        slices={"surface": to_numpy(first.slates["surface"])},
        facts={f"{one.name} serves": one.served for one in judged},
        shopper=to_numpy(first.slates["user_id"]),
        notes=notes,
        where=first.counted,
        cohorts=first.cohorts,
    )


def _note(head: Sequence[str], row: Sequence[str]) -> str:
    return f"{row[0]}: " + "; ".join(f"{name} {cell}" for name, cell in zip(head[1:], row[1:], strict=True))


def names_of(folders: Sequence[Path]) -> list[str]:
    """The last parts of the folders' paths that tell them apart."""
    paths = [folder.resolve() for folder in folders]
    if len(set(paths)) < 2 or len(set(paths)) < len(paths):
        raise ValueError("Name two different runs or more.")
    shared = Path(os.path.commonpath([path.parent for path in paths]))
    short = [path.name for path in paths]
    return short if len(set(short)) == len(short) else [str(path.relative_to(shared)) for path in paths]


def differing(runs: Mapping[str, RunFolder]) -> Iterator[tuple[str, ...]]:
    """Each setting whose values differ, with that of every run."""
    for one in SETTINGS.values():
        values = [toml_value(one.of(run.config)) for run in runs.values()]
        if len(set(values)) > 1:
            yield (one.name, *values)


def headings(kind: str, runs: Mapping[str, RunFolder]) -> list[str]:
    """What a row is of, the first run, and every other one with its difference."""
    first, *others = runs
    return [kind, first, *(name for other in others for name in (other, f"{other} - {first}"))]


def recall_of(runs: Mapping[str, RunFolder]) -> Iterator[tuple[str, ...]]:
    """Recall@k of each run and the differences, on the same requests; nothing where other requests were judged."""
    tables = [pq.read_table(path) for run in runs.values() if (path := run.path / "retrieval" / HITS).exists()]
    if len(tables) < len(runs) or any(not t.select(REQUEST).equals(tables[0].select(REQUEST)) for t in tables):
        return
    shopper = to_numpy(tables[0]["user_id"])
    samples = bootstrap.resample(len(shopper), np.random.default_rng(SEED), shopper=shopper)
    for name in tables[0].column_names[len(REQUEST) :]:
        means = bootstrap.means(np.column_stack([table[name].to_numpy() for table in tables]), samples)
        changes = [(str(mean.estimate()), signed((mean - means[0]).estimate())) for mean in means[1:]]
        yield (name, str(means[0].estimate()), *(cell for cells in changes for cell in cells))


def metric_rows(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    """The headline metrics of each run, and the differences."""
    first, *others = comparison.metrics
    for name, estimate in comparison.metrics[first].items():
        if name.split(".", 1)[1] in HEADLINE and not np.isnan(estimate.value):
            cells = [(comparison.metrics[other].get(name), comparison.differences[other].get(name)) for other in others]
            yield (name, str(estimate), *(text for one, change in cells for text in (str(one or ""), signed(change))))


def signed(change: Estimate | None) -> str:
    """A difference with its interval; * where that excludes 0."""
    if change is None:
        return ""
    star = " *" if change.excludes_zero else ""
    return f"{change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}]{star}"
