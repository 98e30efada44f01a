"""Answering a logged request again, from its features as they were logged: the same bundle must give the same bits.

What a model server predicted must be what the bundle's scorer predicts within `serving.parity.TOLERANCE`; all that
follows from it, the same bits. So must what followed from cached predictions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from features.served import served
from marketplace.heads import composed
from marketplace.schema import LISTS_SINCE, RELEVANCE, SCORER_KEY, TIER
from marketplace.slate import Slate, slates_to_table
from serving.parity import TOLERANCE, worst_difference
from serving.parts import Parts
from serving.rule_attributes import attributes_of
from serving.rungs import CACHED, rung_of
from serving.scorer import REMOTE, Scorer
from serving.slate_builder import places
from serving.slate_selection import SlateContext


class NotReplayable(ValueError):
    """The slate was answered by another bundle."""


@dataclass(frozen=True, eq=False)
class Replay:
    """The slate as answered now; `differs` names the columns that are not the same bits as in the log."""

    slate: Slate
    differs: tuple[str, ...]

    @property
    def same(self) -> bool:
        return not self.differs


def replay(parts: Parts, logged: Slate, *, scorer: Scorer | None = None) -> Replay:
    """`logged` from its own features and shadow prices, with its seed; `scorer` stands in for the bundle's.

    Raises NotReplayable where the slate names other versions than the bundle.
    """
    parts = parts.of_slate(logged)
    _check_versions(parts, logged)
    rows = parts.item_table.rows(logged.item_id)
    again = _predicted(parts, logged, scorer or parts.scorer)
    columns = parts.valuation.columns(again)
    values = parts.valuation.value(columns, surface=logged.surface, segment=logged.segment, seed=logged.seed)
    grade = None if logged.query is None else logged.numeric.get(RELEVANCE)
    relevance = logged.numeric.get(TIER, parts.slate_selector.relevance(grade, logged.retrieval_score))
    context = SlateContext(logged.places, logged.time, logged.surface, relevance, logged.numeric.get(LISTS_SINCE))
    attributes = attributes_of(logged) or parts.slate_selector.attributes(rows, context=context)
    chosen = parts.slate_selector.choose(values, attributes, context=context, seed=logged.seed)
    position, propensity = places(chosen, len(logged), above=logged.places_above)
    again = replace(
        again,
        value=values.value,
        merchant_value=values.merchant_value,
        weights=values.weights,
        position=position,
        propensity=propensity,
    )
    return Replay(again, tuple(_differences(logged, again)))


def _predicted(parts: Parts, logged: Slate, scorer: Scorer) -> Slate:
    if rung_of(logged) == CACHED:  # what the cache held then is on record alone
        return logged
    frame = served(slates_to_table([logged]), parts.encoder.spec)
    predictions = composed(scorer.score(parts.encoder.encode(frame)))
    if logged.context.get(SCORER_KEY) == REMOTE and worst_difference(predictions, logged.predictions)[1] <= TOLERANCE:
        return logged
    return replace(logged, predictions=predictions)


def _check_versions(parts: Parts, logged: Slate) -> None:
    for part, answered_by in logged.versions.items():
        version = parts.versions[part]
        if answered_by != version:
            raise NotReplayable(
                f"slate {logged.request_id!r} was answered by {part} {answered_by}, this bundle holds {version}. "
                "Load the bundle that answered it."
            )


def _differences(logged: Slate, again: Slate) -> list[str]:
    def columns(slate: Slate) -> Mapping[str, np.ndarray]:
        compared = {name: getattr(slate, name) for name in ("merchant_value", "value", "position", "propensity")}
        compared |= {f"predictions.{head}": values for head, values in slate.predictions.items()}
        return compared | {f"weights.{name}": np.array(weight) for name, weight in slate.weights.items()}

    before, now = columns(logged), columns(again)
    return [name for name in before if not np.array_equal(before[name], now[name], equal_nan=True)]
