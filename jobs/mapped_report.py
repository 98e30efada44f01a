"""What a run says of its mapped features: which are inputs, which are not and why, and which give the answer away."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from features.mapped import MappedFeatures, mapped_columns
from features.spec import Feature, Kind, Source
from marketplace.attribution import Attribution, recorded_labels
from marketplace.dataset import Dataset
from marketplace.finding import Finding, Severity, Where
from marketplace.slate_columns import flat, item_offsets, to_numpy

ECHO = 0.98  # AUC of one feature alone, above which it is likely an echo of the label
FEWEST = 50  # rows of either kind, below which an AUC says little
NEWEST = 200_000  # rows that are looked at, about
ROWS_A_WORD = 20  # fewer, and words separate the rows that they were counted on by chance


def notes(mapped: MappedFeatures, *, context: Iterable[str] = ()) -> list[str]:
    """One line on the features of each source, and one on each reason for leaving columns out.

    `context`: entries of the request's context that models read beside them.
    """
    used: dict[Source, list[str]] = defaultdict(list, {Source.REQUEST: [*context]})
    unused: dict[str, list[str]] = defaultdict(list)
    for feature in mapped.features:
        used[feature.source].append(feature.name)
    for name, reason in mapped.unused.items():
        unused[reason].append(name)
    lines = [f"Mapped features of the {source}: {', '.join(names)}." for source, names in used.items() if names]
    if of_candidates := used.get(Source.CANDIDATE):
        lines.append(
            f"{', '.join(of_candidates)}: known of candidates that a caller sends (/v1/rank), missing of those that "
            "the service retrieves (/v1/recommend)."
        )
    return lines + [f"Mapped, and no feature ({reason}): {', '.join(names)}." for reason, names in unused.items()]


def echoes(dataset: Dataset, joined: Attribution, mapped: MappedFeatures) -> Iterator[Finding]:
    """A warning for each mapped feature of items or candidates that tells a label almost by itself, with its AUC.

    A missing number counts as the least, so that a number known of what was clicked alone is found.
    """
    newest = int(np.searchsorted(item_offsets(joined.slates), len(joined.labels) - NEWEST))
    slates = joined.slates.slice(newest)
    labels = joined.labels.slice(int(item_offsets(joined.slates)[newest]))
    happened = {name: to_numpy(labels[name].combine_chunks()) > 0 for name in recorded_labels(dataset.feedback)}
    told = {name: rows for name, rows in happened.items() if min(rows.sum(), (~rows).sum()) >= FEWEST}
    for feature, values in _of_candidates(replace(dataset, slates=slates), mapped):
        numbers = _ranks(values) if feature.kind is Kind.NUMBER else None
        for name, rows in told.items():
            score = _rates(values, rows) if numbers is None else numbers
            if score is not None and (area := separation(score, rows)) >= ECHO:
                reason = f"{feature.name!r} alone tells {name} from no {name} (AUC {area:.3f}). Is it recorded later?"
                fix = "What is not known before the shopper answers goes under `ignore`."
                yield Finding("echo", Where(dataset.name), reason, fix, Severity.WARNING)
                break


def separation(score: np.ndarray, happened: np.ndarray) -> float:
    """max(AUC, 1 - AUC), ties counted half (Mann-Whitney)."""
    _, rank, count = np.unique(score, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2
    ones = int(happened.sum())
    area = (middle[rank][happened].sum() - ones * (ones + 1) / 2) / (ones * (len(happened) - ones))
    return float(max(area, 1 - area))


def _of_candidates(dataset: Dataset, mapped: MappedFeatures) -> Iterator[tuple[Feature, pa.Array]]:
    """The features of items and candidates, with their values in each row."""
    source = {feature.name: feature.source for feature in mapped.features}
    rows = dataset.item_rows(flat(dataset.slates, "item_id"))
    for feature, values in mapped_columns(dataset):
        if feature.kind is Kind.CATEGORIES:
            continue
        match source.get(feature.name):
            case Source.ITEM if feature.source is Source.ITEM:
                yield feature, values.take(pa.array(rows, mask=rows < 0))
            case Source.CANDIDATE if len(values) == len(rows):
                yield feature, values


def _ranks(numbers: pa.Array) -> np.ndarray:
    """Dense ranks; a missing number is the least."""
    return np.unique(np.nan_to_num(to_numpy(numbers).astype(np.float64), nan=-np.inf), return_inverse=True)[1]


def _rates(words: pa.Array, happened: np.ndarray) -> np.ndarray | None:
    """The share of rows of the same word in which it happened; None where there are too many words to say."""
    codes = to_numpy(words.dictionary_encode(null_encoding="encode").indices)
    rows = np.bincount(codes)
    return None if len(rows) * ROWS_A_WORD > len(codes) else (np.bincount(codes, happened) / rows)[codes]
