"""Forests: fitted trees in one form, whichever library grew them, so that every graph of them says the same bits.

A row goes left where its number is at most the threshold, or where its code is a member; a missing number goes where
the split sends it, a code that training did not meet goes right. The score of a row is the sum of its leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

TREE_SCORES = "tree_scores"  # the graph input that holds the forests' scores, float64 [N, heads]


@dataclass(frozen=True)
class Place:
    """Where a column of the trees' matrix comes from: a packed input by its name in `ModelInputs`, and its column."""

    packed: str
    column: int

    @property
    def is_category(self) -> bool:
        return self.packed.endswith("_codes")


@dataclass(frozen=True)
class Split:
    """A test of one column: `members` None = a number, against the float32 `threshold`."""

    column: int
    left: Split | float
    right: Split | float
    threshold: float = 0.0
    members: tuple[int, ...] | None = None
    missing_left: bool = False


Forest = tuple[Split, ...]  # a tree is its root; one without splits is a split into twice the same leaf


def tree(root: Split | float) -> Split:
    """A tree of a forest, from its root or its only leaf."""
    return root if isinstance(root, Split) else Split(0, root, root)


def with_stand_ins(root: Split, numbers: Mapping[int, float]) -> Split:
    """A tree in which a missing number goes where the one of its column in `numbers` goes, if there is one."""

    def of(node: Split | float) -> Split | float:
        if not isinstance(node, Split):
            return node
        left = numbers[node.column] <= node.threshold if node.column in numbers else node.missing_left
        return replace(node, left=of(node.left), right=of(node.right), missing_left=left)

    moved = of(root)
    assert isinstance(moved, Split)
    return moved


def float32_below(threshold: float) -> float:
    """The largest float32 that is at most `threshold`: of float32 numbers the same ones are at most either."""
    highest = float(np.finfo(np.float32).max)
    if threshold >= highest:
        return highest if np.isfinite(threshold) else threshold
    with np.errstate(over="ignore"):  # below every float32 but minus infinity
        rounded = float(np.float32(threshold))
    return rounded if rounded <= threshold else float(np.nextafter(np.float32(rounded), np.float32(-np.inf)))
