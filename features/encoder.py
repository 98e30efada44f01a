"""From raw features to packed codes: vocabularies learned from training rows, and nothing else.

Conventions: code 0 = padding or missing (null or ""), 1 = not in the vocabulary, 2.. = known, the most frequent first.
Lists keep their last `length` entries. Numbers pass through as float32 (the model standardises them).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.spec import Feature, FeatureFrame, FeatureSpec, Group, Kind, ModelInputs
from marketplace.keys import rows_of

MISSING, UNKNOWN, FIRST = 0, 1, 2
LIMIT = 20_000  # names of one mapped category
BUCKETS = 1024  # codes that its other names share
OFFER_IDS = ("item_id", "merchant_id")


@dataclass(frozen=True, eq=False)
class EncodedItems:
    """Item codes of the whole catalogue, packed as in ModelInputs: int32 [n, item categories], [n, list lengths]."""

    spec: FeatureSpec
    codes: np.ndarray
    lists: np.ndarray

    def of(self, name: str) -> np.ndarray:
        """int32 [n]: the codes of one item category, such as item_id."""
        names = [feature.name for feature in self.spec.select(Group.ITEM, Kind.CATEGORY)]
        return self.codes[:, names.index(name)]


@dataclass(frozen=True, eq=False)
class Encoder:
    """`spec` and its vocabularies: names in code order, from code 2 on.

    A mapped category with more than LIMIT names keeps the most frequent; the others share `buckets[vocabulary]` codes
    after them, each by the hash of its name (CRC-32), so that no column is too wide to be an input.
    """

    spec: FeatureSpec
    vocabularies: Mapping[str, tuple[str, ...]]
    buckets: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        frame: FeatureFrame,
        *,
        requests: np.ndarray | None = None,
        min_count: int = 1,
        offer_min_count: int | None = None,
    ) -> Encoder:
        """Vocabularies of what occurs `min_count` times or more in `requests` (bool [R]; None = all).

        A row's occurrence counts once, a user feature's once a request; features that share a vocabulary add up.
        `offer_min_count`: that of ids of items and merchants, None = `min_count`. An item that is shown once in a month
        is one that few want, which says nothing of those that have just begun: sharing a code, they share its fate.
        """
        chosen = np.ones(len(frame.offsets) - 1, bool) if requests is None else np.asarray(requests, bool)
        rows = np.repeat(chosen, np.diff(frame.offsets))
        counts: dict[str, Counter[str]] = {}
        for feature in frame.spec.features:
            if feature.kind is not Kind.NUMBER:
                kept = frame.columns[feature.name].filter(pa.array(chosen if feature.group is Group.USER else rows))
                counts.setdefault(feature.table, Counter()).update(_count(kept))
        offers = {feature.table for feature in frame.spec.features if feature.name in OFFER_IDS}
        of_offers = min_count if offer_min_count is None else offer_min_count
        vocabularies = {n: _frequent(seen, of_offers if n in offers else min_count) for n, seen in counts.items()}
        wide = [f.table for f in frame.spec.mapped() if len(vocabularies.get(f.table, ())) > LIMIT and not f.vocabulary]
        kept = {name: names[:LIMIT] if name in wide else names for name, names in vocabularies.items()}
        return cls(frame.spec, kept, dict.fromkeys(wide, BUCKETS))

    def grown(self, later: Encoder) -> Encoder:
        """This encoder, behind whose names stand the further ones of `later`: no code of a name changes.

        A vocabulary with buckets is full: further names go on sharing them. ValueError where the features differ.
        """
        if self.spec != later.spec:
            ours, theirs = ({feature.name for feature in one.spec.features} for one in (self, later))
            raise ValueError(f"other features: {', '.join(sorted(ours ^ theirs)) or 'the same names, defined anew'}.")
        grown = {}
        for vocabulary, names in self.vocabularies.items():
            known = set(names)
            further = () if vocabulary in self.buckets else later.vocabularies[vocabulary]
            grown[vocabulary] = (*names, *(name for name in further if name not in known))
        return Encoder(self.spec, grown, {**later.buckets, **self.buckets})

    def codes_in(self, before: Encoder, vocabulary: str) -> np.ndarray:
        """int64 [size]: what each code of a vocabulary was in `before`, of which this encoder is grown."""
        known = before._index[vocabulary]
        names = [known.get(name) or before._unknown(vocabulary, name) for name in self.vocabularies[vocabulary]]
        shared = np.full(self.buckets.get(vocabulary, 0), UNKNOWN)
        if vocabulary in before.buckets:
            shared = FIRST + len(known) + np.arange(len(shared))
        return np.concatenate([[MISSING, UNKNOWN], names, shared]).astype(np.int64)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of codes per vocabulary, 0 and 1 included: the rows of its embedding table."""
        return {name: len(names) + FIRST + self.buckets.get(name, 0) for name, names in self.vocabularies.items()}

    def encode(self, frame: FeatureFrame) -> ModelInputs:
        """The packed inputs of a frame of the same spec."""
        packed = {group: self._pack(frame, group) for group in Group}
        return ModelInputs(
            user_codes=packed[Group.USER][0],
            user_lists=packed[Group.USER][1],
            user_numbers=packed[Group.USER][2],
            item_codes=packed[Group.ITEM][0],
            item_lists=packed[Group.ITEM][1],
            item_numbers=packed[Group.ITEM][2],
            cross_codes=packed[Group.CROSS][0],
            cross_numbers=packed[Group.CROSS][2],
            request=frame.request.astype(np.int32),
        )

    def encode_items(self, columns: Mapping[str, pa.Array]) -> EncodedItems:
        """The item categories of a whole catalogue, once; `columns`: `features.item_columns.catalogue_columns`."""
        codes = [self.codes(feature, columns[feature.name]) for feature in self.spec.select(Group.ITEM, Kind.CATEGORY)]
        lists = [
            self.list_codes(feature, columns[feature.name]) for feature in self.spec.select(Group.ITEM, Kind.CATEGORIES)
        ]
        rows = max((len(column) for column in columns.values()), default=0)
        return EncodedItems(self.spec, _stack(codes, rows), np.concatenate([_stack([], rows), *lists], axis=1))

    def code(self, feature: Feature, value: str | None) -> int:
        """The code of one category."""
        if not value:
            return MISSING
        code = self._index[feature.table].get(value)
        return self._unknown(feature.table, value) if code is None else code

    def word_codes(self, feature: Feature, words: np.ndarray) -> np.ndarray:
        """int32: the codes of a fixed array of words, which are kept."""
        if feature.name not in self._word_codes:
            self._word_codes[feature.name] = np.array([self.code(feature, word) for word in words], np.int32)
        return self._word_codes[feature.name]

    def row(self, feature: Feature, values: list[str]) -> list[int]:
        """The codes of one list, as `list_codes` gives them."""
        codes = [self.code(feature, value) for value in values[-feature.length :]]
        return codes + [MISSING] * (feature.length - len(codes))

    def codes(self, feature: Feature, values: pa.Array) -> np.ndarray:
        """int32 codes of a category column."""
        if pa.types.is_dictionary(values.type):
            names = self.codes(feature, values.dictionary)
            missing = values.indices.is_null().to_numpy(zero_copy_only=False)
            codes = np.append(names, MISSING)
            indices = values.indices.fill_null(len(names)) if missing.any() else values.indices
            return codes[indices.to_numpy(zero_copy_only=False)]
        if len(values) <= 2:  # one request: a dictionary look-up beats a hash table built for it
            return np.array([self.code(feature, value) for value in values.to_pylist()], np.int32)
        place = rows_of(values, self._arrays[feature.table])
        code = np.where(place < 0, UNKNOWN, place + FIRST).astype(np.int32)
        if feature.table in self.buckets:
            other = (place < 0) & values.is_valid().to_numpy(zero_copy_only=False)
            names = values.filter(pa.array(other)).dictionary_encode()
            hashed = np.array([self._unknown(feature.table, name) for name in names.dictionary.to_pylist()], np.int32)
            code[other] = hashed[names.indices.to_numpy()]
        code[pc.equal(values, "").fill_null(True).to_numpy(zero_copy_only=False)] = MISSING
        return code

    def list_codes(self, feature: Feature, values: pa.Array) -> np.ndarray:
        """int32 [rows, length]: codes of a list column, the last `length` entries, padded with 0 at the end."""
        offsets = np.append(0, np.cumsum(pc.list_value_length(values).fill_null(0).to_numpy(zero_copy_only=False)))
        codes = self.codes(feature, values.flatten())
        length = np.diff(offsets)
        kept = np.minimum(length, feature.length)
        place = np.arange(feature.length)
        inside = place < kept[:, None]
        result = np.zeros((len(values), feature.length), np.int32)
        result[inside] = codes[((offsets[1:] - kept)[:, None] + place)[inside]]
        return result

    def to_json(self) -> str:
        vocabularies = {name: list(names) for name, names in self.vocabularies.items()}
        about = {"spec": json.loads(self.spec.to_json()), "vocabularies": vocabularies}
        if self.buckets:
            about["buckets"] = dict(self.buckets)
        return json.dumps(about, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Encoder:
        data = json.loads(text)
        spec = FeatureSpec.from_json(json.dumps(data["spec"]))
        vocabularies = {name: tuple(names) for name, names in data["vocabularies"].items()}
        return cls(spec, vocabularies, data.get("buckets", {}))

    def _unknown(self, vocabulary: str, name: str) -> int:
        """The code of a name that the vocabulary does not hold."""
        if vocabulary not in self.buckets:
            return UNKNOWN
        return FIRST + len(self.vocabularies[vocabulary]) + crc32(name.encode()) % self.buckets[vocabulary]

    def _pack(self, frame: FeatureFrame, group: Group) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = len(frame.offsets) - 1 if group is Group.USER else int(frame.offsets[-1])
        column = frame.columns
        codes = [self.codes(f, column[f.name]) for f in self.spec.select(group, Kind.CATEGORY)]
        lists = [self.list_codes(f, column[f.name]) for f in self.spec.select(group, Kind.CATEGORIES)]
        numbers = [column[f.name].to_numpy(zero_copy_only=False) for f in self.spec.select(group, Kind.NUMBER)]
        return (
            _stack(codes, rows),
            np.concatenate([_stack([], rows), *lists], axis=1),
            _stack(numbers, rows, np.float32),
        )

    @cached_property
    def _word_codes(self) -> dict[str, np.ndarray]:
        return {}

    @cached_property
    def _arrays(self) -> dict[str, pa.Array]:
        return {name: pa.array(names, pa.string()) for name, names in self.vocabularies.items()}

    @cached_property
    def _index(self) -> dict[str, dict[str, int]]:
        return {
            vocabulary: {name: code for code, name in enumerate(names, FIRST)}
            for vocabulary, names in self.vocabularies.items()
        }


def _count(column: pa.Array) -> dict[str, int]:
    values = column.flatten() if pa.types.is_list(column.type) else column
    counted = pc.value_counts(values)
    names, counts = counted.field("values"), counted.field("counts")
    names = names.dictionary_decode() if pa.types.is_dictionary(names.type) else names
    return {name: n for name, n in zip(names.to_pylist(), counts.to_pylist(), strict=True) if name}


def _frequent(counts: Counter[str], min_count: int) -> tuple[str, ...]:
    kept = [(-n, name) for name, n in counts.items() if n >= min_count]
    return tuple(name for _, name in sorted(kept))


def _stack(columns: list[np.ndarray], rows: int, dtype: type = np.int32) -> np.ndarray:
    return np.stack(columns, axis=1).astype(dtype, copy=False) if columns else np.zeros((rows, 0), dtype)
