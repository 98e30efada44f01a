"""The catalogue as arrays: what is known of every item whoever asks; a catalogue row is a row of `Dataset.items`."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.dataset import Dataset
from marketplace.keys import one_array, rows_of
from marketplace.splits import microseconds

WORD = re.compile(r"[^\W_]+")
FEW = 10_000  # ids
RATES = ("commission_rate", "quality", "return_rate", "refusal_rate")


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Columns over n items. Row -1 stands for an item that is not in the catalogue.

    `category` and `merchant` are int32 codes into their names; `price` in the data's currency, `margin` a share of it;
    `launched` is UTC microseconds, the smallest int64 where unknown; `rates[name]` are the merchant's. NaN = unknown.
    """

    item_id: pa.Array  # string [n]
    category: np.ndarray
    merchant: np.ndarray
    category_names: pa.Array
    merchant_names: pa.Array
    price: np.ndarray
    margin: np.ndarray
    launched: np.ndarray
    rates: dict[str, np.ndarray]
    names: pa.Array  # string [n]
    attributes: dict[str, np.ndarray]  # int32 codes [n] of what else is known of the items, by name; -1 = not known

    @classmethod
    def of(cls, dataset: Dataset) -> Catalogue:
        """The catalogue of a data set."""
        items = dataset.items
        category, category_names = _codes(items["category"])
        merchant, merchant_names = _codes(items["merchant_id"])
        row = rows_of(merchant_names, dataset.merchants["merchant_id"])
        rates = {name: _looked_up(dataset.merchants[name], row)[merchant] for name in RATES}
        return cls(
            item_id=one_array(items["item_id"]),
            category=category,
            merchant=merchant,
            category_names=category_names,
            merchant_names=merchant_names,
            price=one_array(items["price"]).to_numpy(),
            margin=one_array(items["margin"]).to_numpy(zero_copy_only=False),
            launched=microseconds(items["available_from"]),
            rates=rates,
            names=one_array(items["name"]),
            attributes=_attribute_codes(one_array(items["attributes"])),
        )

    def __len__(self) -> int:
        return len(self.item_id)

    def rows(self, item_ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """int32 rows of the items, -1 where unknown."""
        if len(item_ids) > FEW:  # Arrow hashes the whole catalogue at each call; a few go through a table that is kept
            return rows_of(item_ids, self.item_id).astype(np.int32)
        return np.fromiter((self.row.get(name, -1) for name in item_ids.to_pylist()), np.int32, len(item_ids))

    @cached_property
    def row(self) -> dict[str, int]:
        """Row by item id."""
        return {name: row for row, name in enumerate(self.item_id.to_pylist())}

    @cached_property
    def category_price(self) -> np.ndarray:
        """float64 [n]: mean price of the item's category."""
        total = np.bincount(self.category, self.price, minlength=len(self.category_names))
        count = np.bincount(self.category, minlength=len(self.category_names))
        return (total / np.maximum(count, 1))[self.category]

    @cached_property
    def tokens(self) -> pa.Array:
        """list<string> [n]: the words of the item's name."""
        return tokenise(self.names)


def tokenise(texts: pa.Array) -> pa.Array:
    """list<string>: the `words` of each text; empty for a missing one."""
    split = [words(text) for text in texts.to_pylist()]
    offsets = np.append(0, np.cumsum([len(row) for row in split])).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(list(chain.from_iterable(split)), pa.string()))


def words(text: str | None) -> list[str]:
    """Runs of letters and digits of any script, without case, accents and vowel marks (as Arabic search expects)."""
    if not text:
        return []
    plain = text.casefold()
    if not plain.isascii():
        plain = "".join(mark for mark in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(mark))
    return WORD.findall(plain)


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    coded = one_array(column).cast(pa.string()).dictionary_encode()
    return coded.indices.to_numpy().astype(np.int32), coded.dictionary


def _attribute_codes(maps: pa.MapArray) -> dict[str, np.ndarray]:
    offsets = maps.offsets.to_numpy()
    row = np.repeat(np.arange(len(maps)), np.diff(offsets))
    names, values = (part.slice(offsets[0], len(row)) for part in (maps.keys, maps.items))
    codes = {}
    for name in sorted(names.unique().to_pylist()):
        kept = pc.and_(pc.equal(names, name), values.is_valid())
        codes[name] = np.full(len(maps), -1, np.int32)
        codes[name][row[kept.to_numpy(zero_copy_only=False)]] = _codes(values.filter(kept))[0]
    return codes


def _looked_up(column: pa.ChunkedArray, row: np.ndarray) -> np.ndarray:
    values = np.append(one_array(column).to_numpy(), np.nan)  # row -1 reads the last
    return values[row].astype(np.float32)
