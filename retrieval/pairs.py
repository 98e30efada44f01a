"""Pairs that the towers learn from: which request took which item, and the catalogue as inputs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from features.catalogue import Catalogue
from features.encoder import Encoder
from features.item_columns import catalogue_columns
from features.snapshot import item_numbers
from features.spec import ModelInputs


@dataclass(frozen=True, eq=False)
class ItemInputs:
    """The item group of every catalogue row, packed as in `ModelInputs`.

    `begun` bool [n]: those that were on sale while the pairs were recorded, None = all. Negatives are drawn from them
    alone: that nobody took what nobody could take says nothing against it.
    """

    codes: np.ndarray  # int32 [n, item categories]
    lists: np.ndarray  # int32 [n, sum of list lengths]
    numbers: np.ndarray  # float32 [n, item numbers]
    begun: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def had_begun(self) -> np.ndarray:
        """int32: the rows of `begun`."""
        rows = np.arange(len(self), dtype=np.int32)
        return rows if self.begun is None else rows[self.begun]


@dataclass(frozen=True, eq=False)
class Pairs:
    """P pairs of a request and an item that it wanted, over the user group of R requests.

    `request` int32 [P] into R, `item` int32 [P] catalogue rows, `weight` float32 [P].
    """

    user_codes: np.ndarray  # int32 [R, user categories]
    user_lists: np.ndarray  # int32 [R, sum of list lengths]
    user_numbers: np.ndarray  # float32 [R, user numbers]
    request: np.ndarray
    item: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.item)

    def select(self, rows: np.ndarray) -> Pairs:
        """Some of the pairs (bool [P] or positions), over the same requests."""
        return Pairs(
            self.user_codes,
            self.user_lists,
            self.user_numbers,
            self.request[rows],
            self.item[rows],
            self.weight[rows],
        )


def item_inputs(catalogue: Catalogue, encoder: Encoder) -> ItemInputs:
    """The whole catalogue, once; prices are the catalogue's."""
    items = encoder.encode_items(catalogue_columns(catalogue, encoder.spec))
    return ItemInputs(items.codes, items.lists, item_numbers(catalogue, encoder.spec))


def pairs(inputs: ModelInputs, *, item: np.ndarray, weight: np.ndarray) -> Pairs:
    """The positive rows of `inputs`: `weight` float [N] > 0, `item` int32 [N] a catalogue row (-1 = none)."""
    positive = np.flatnonzero((weight > 0) & (item >= 0))
    return Pairs(
        inputs.user_codes,
        inputs.user_lists,
        inputs.user_numbers,
        request=inputs.request[positive],
        item=item[positive].astype(np.int32),
        weight=weight[positive].astype(np.float32),
    )
