"""Rows of a run with what boosted trees say of them, for the network of a stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from jobs.prepare import TrainingRows
from marketplace.splits import microseconds
from value_model.rankers.stack import forward_scores, tree_scores, with_scores
from value_model.rankers.trees import Trees


def with_tree_scores(prepared: TrainingRows, trees: Mapping[str, Trees], *, parts: int) -> TrainingRows:
    """All rows with scores: those of the training period by trees of earlier `parts`, the later ones by `trees`.

    `parts` 0 = all by `trees`, which have learned from earlier days alone.
    """
    data, train = prepared.data, prepared.period.train
    scores = tree_scores(trees, data.inputs)
    if parts:
        scores[prepared.rows(train)] = forward_scores(
            prepared.part(train),
            time=microseconds(prepared.slates["time"])[train],
            spec=prepared.encoder.spec,
            configs={name: some.config for name, some in trees.items()},
            parts=parts,
        )
    return replace(prepared, data=replace(data, inputs=with_scores(data.inputs, scores)))
