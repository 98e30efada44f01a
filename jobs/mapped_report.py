"""What a run says of its mapped features: which are inputs, which are not and why, and which give the answer away."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from features.mapped import MappedFeatures
from features.spec import Feature, FeatureSpec, Group, Kind, ModelInputs, Source
from marketplace.heads import Labels

ECHO = 0.98  # AUC of one feature alone, above which it is likely an echo of the label
FEWEST = 50  # rows of either kind, below which an AUC says little
ROWS_A_WORD = 20  # fewer, and words separate the rows that they were counted on by chance


def notes(mapped: MappedFeatures) -> list[str]:
    """One line on the features of each source, and one on each reason for leaving columns out."""
    used, unused = defaultdict(list), defaultdict(list)
    for feature in mapped.features:
        used[feature.source].append(feature.name)
    for name, reason in mapped.unused.items():
        unused[reason].append(name)
    lines = [f"Mapped features of the {source}: {', '.join(names)}." for source, names in used.items()]
    return lines + [f"Mapped, and no feature ({reason}): {', '.join(names)}." for reason, names in unused.items()]


def echoes(inputs: ModelInputs, labels: Labels, spec: FeatureSpec) -> Iterator[str]:
    """A warning for each mapped feature of items or candidates that tells a label almost by itself, with its AUC.

    A missing number counts as the least, so that a number known of what was clicked alone is found.
    """
    for feature, values in _columns(inputs, spec):
        for name, label in labels.items():
            happened = label > 0
            if min(happened.sum(), (~happened).sum()) < FEWEST:
                continue
            score = values if feature.kind is Kind.NUMBER else _rates(values, happened)
            if score is not None and (area := separation(score, happened)) >= ECHO:
                yield (
                    f"{feature.name!r} alone tells {name} from no {name} (AUC {area:.3f}) on the training rows: is it "
                    "recorded after the answer? What is not known before the shopper answers goes under `ignore`."
                )
                break


def separation(score: np.ndarray, happened: np.ndarray) -> float:
    """max(AUC, 1 - AUC), ties counted half (Mann-Whitney)."""
    _, rank, count = np.unique(score, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2
    ones = int(happened.sum())
    area = (middle[rank][happened].sum() - ones * (ones + 1) / 2) / (ones * (len(happened) - ones))
    return float(max(area, 1 - area))


def _columns(inputs: ModelInputs, spec: FeatureSpec) -> Iterator[tuple[Feature, np.ndarray]]:
    """[N] of each: numbers with missing ones as the least, and codes."""
    packed = {
        (Group.ITEM, Kind.NUMBER): inputs.item_numbers,
        (Group.CROSS, Kind.NUMBER): inputs.cross_numbers,
        (Group.ITEM, Kind.CATEGORY): inputs.item_codes,
        (Group.CROSS, Kind.CATEGORY): inputs.cross_codes,
    }
    for (group, kind), columns in packed.items():
        for place, feature in enumerate(spec.select(group, kind)):
            if feature.source is not Source.STANDARD:
                values = columns[:, place]
                yield feature, np.where(np.isnan(values), -np.inf, values) if kind is Kind.NUMBER else values


def _rates(codes: np.ndarray, happened: np.ndarray) -> np.ndarray | None:
    """The share of rows of the same word in which it happened; None where there are too many words to say."""
    rows = np.bincount(codes)
    if (rows > 0).sum() * ROWS_A_WORD > len(codes):
        return None
    return (np.bincount(codes, happened) / np.maximum(rows, 1))[codes]
