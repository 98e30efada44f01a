"""Attributes of items that the slate policy read, as entries of a slate: logged where an item is not the bundle's.

A replay takes them from the slate: the bundle does not know what an item was, or that it was, when the slate was made.
Entries are float32 [n], `rule.<name>`, and `rule.embedding.<dimension>` of an embedding.
"""

from __future__ import annotations

import numpy as np

from marketplace.schema import LISTS_SINCE, RELEVANCE, RULE_PREFIX, TIER
from marketplace.slate import Slate
from serving.slate_selection import NEW_ITEM, NEWCOMER
from value_model.slate_policies.slate_policy import ItemAttributes

EMBEDDING = "embedding"


def attribute_entries(attributes: ItemAttributes) -> dict[str, np.ndarray]:
    """The attributes as entries of a slate's `numeric`; codes below 2^24 keep their value."""
    entries: dict[str, np.ndarray] = {}
    for name, column in attributes.columns.items():
        if name == EMBEDDING:
            entries |= {f"{RULE_PREFIX}{name}.{place:04d}": values for place, values in enumerate(column.T)}
        elif name != RELEVANCE:  # the tier, which every slate of a search holds
            entries[RULE_PREFIX + name] = column.astype(np.float32)
    return entries


def attributes_of(slate: Slate) -> ItemAttributes | None:
    """What `attribute_entries` wrote; None where every item was the bundle's."""
    names = sorted(name for name in slate.numeric if name.startswith(RULE_PREFIX))
    entries = {name.removeprefix(RULE_PREFIX): slate.numeric[name] for name in names}
    if not entries:
        return None
    dimensions = [values for name, values in entries.items() if name.startswith(f"{EMBEDDING}.")]
    columns: dict[str, np.ndarray] = {EMBEDDING: np.stack(dimensions, axis=1)} if dimensions else {}
    for name, values in entries.items():
        if not name.startswith(f"{EMBEDDING}."):
            columns[name] = values.astype(bool if name in (NEWCOMER, NEW_ITEM) else np.int32)
    if TIER in slate.numeric:
        columns[RELEVANCE] = slate.numeric[TIER]
    if LISTS_SINCE in slate.numeric:
        columns[LISTS_SINCE] = slate.numeric[LISTS_SINCE]
    return ItemAttributes(columns)
