"""The encoder as a TensorFlow graph: raw features, as they are logged, to packed codes; the twin of `Encoder`.

Conventions: text is UTF-8, "" = missing; NaN = a missing number. Of the R requests of a call: categories string [R],
numbers float32 [R], lists string [R, L], those shorter than L with "" behind. Of their N rows: categories string [N],
numbers float32 [N], lists one text a row, words joined by spaces.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from features.encoder import FIRST, MISSING, UNKNOWN, Encoder
from features.keras2 import tensorflow as tf
from features.spec import Feature, FeatureSpec, Group, Kind

POLYNOMIAL = 0xEDB88320  # of CRC-32, lowest bit first
ONES = 0xFFFFFFFF


class EncoderGraph(tf.Module):
    """Holds the vocabularies as look-up tables."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(name="encoder")
        self.spec, self._buckets = encoder.spec, dict(encoder.buckets)
        self._known = {name: FIRST + len(names) for name, names in encoder.vocabularies.items()}
        self._tables = {name: _table(names) for name, names in encoder.vocabularies.items()}

    def packed(self, raw: Mapping[str, tf.Tensor], group: Group, *, rows: tf.Tensor | int) -> dict[str, tf.Tensor]:
        """A group's `ModelInputs` from its features by name; `rows` is R of the user's group, N of the others."""
        codes = [self._codes(f, raw[f.name]) for f in self.spec.select(group, Kind.CATEGORY)]
        encode = self._padded if group is Group.USER else self._words
        lists = [encode(f, raw[f.name]) for f in self.spec.select(group, Kind.CATEGORIES)]
        numbers = [raw[f.name] for f in self.spec.select(group, Kind.NUMBER)]
        columns = {
            "codes": tf.stack(codes, axis=1) if codes else tf.zeros([rows, 0], tf.int32),
            "lists": tf.concat(lists, axis=1) if lists else tf.zeros([rows, 0], tf.int32),
            "numbers": tf.stack(numbers, axis=1) if numbers else tf.zeros([rows, 0], tf.float32),
        }
        return {f"{group.value}_{kind}": column for kind, column in columns.items()}

    def _codes(self, feature: Feature, names: tf.Tensor) -> tf.Tensor:
        """int32 of the names' shape."""
        codes = self._tables[feature.table].lookup(names)
        if feature.table not in self._buckets:
            return codes
        hashed = tf.reshape(crc32(tf.reshape(names, [-1])), tf.shape(names)) % self._buckets[feature.table]
        return tf.where(codes == UNKNOWN, self._known[feature.table] + tf.cast(hashed, tf.int32), codes)

    def _padded(self, feature: Feature, names: tf.Tensor) -> tf.Tensor:
        """int32 [R, length] of string [R, L]: the last `length`, padded with 0 at the end."""
        codes = self._codes(feature, names[:, -feature.length :])
        return _wide(tf.pad(codes, [[0, 0], [0, feature.length - tf.shape(codes)[1]]]), feature)

    def _words(self, feature: Feature, text: tf.Tensor) -> tf.Tensor:
        """int32 [N, length] of string [N]: the last `length` words, padded with 0 at the end."""
        words = tf.strings.split(text, sep=" ")
        codes = words.with_flat_values(self._codes(feature, words.flat_values))
        return _wide(codes[:, -feature.length :].to_tensor(shape=[None, feature.length]), feature)


def raw_specs(
    spec: FeatureSpec, group: Group, *, names: Mapping[str, str], requests: int | None = 1
) -> list[tf.TensorSpec]:
    """The inputs of a group's features, called by `names`; `requests` None = any number R."""
    rows, kinds = requests if group is Group.USER else None, {Kind.NUMBER: tf.float32}
    specs = []
    for kind in Kind:
        shape = [rows, None] if kind is Kind.CATEGORIES and group is Group.USER else [rows]
        dtype = kinds.get(kind, tf.string)
        specs += [tf.TensorSpec(shape, dtype, name=names[feature.name]) for feature in spec.select(group, kind)]
    return specs


def crc32(text: tf.Tensor) -> tf.Tensor:
    """int64 [n]: the CRC-32 of each text's bytes, as zlib computes it, for all texts a byte at a time."""
    table, length = tf.constant(_crc_table()), tf.strings.length(text)
    longest = tf.maximum(tf.reduce_max(length), 1)
    content = tf.cast(tf.io.decode_raw(text, tf.uint8, fixed_length=longest), tf.int64)

    def step(place: tf.Tensor, crc: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        low = tf.bitwise.bitwise_and(tf.bitwise.bitwise_xor(crc, content[:, place]), 255)
        following = tf.bitwise.bitwise_xor(tf.gather(table, low), tf.bitwise.right_shift(crc, np.int64(8)))
        return place + 1, tf.where(place < length, following, crc)

    start = tf.constant(0), tf.fill(tf.shape(text), np.int64(ONES))
    _, crc = tf.while_loop(lambda place, _: place < longest, step, start)
    return tf.bitwise.bitwise_xor(crc, np.int64(ONES))


def _crc_table() -> np.ndarray:
    """int64 [256]"""
    table = np.arange(256, dtype=np.int64)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ POLYNOMIAL, table >> 1)
    return table


def _table(names: tuple[str, ...]) -> tf.lookup.StaticHashTable:
    codes = np.arange(FIRST, FIRST + len(names), dtype=np.int32)
    content = tf.lookup.KeyValueTensorInitializer(
        tf.constant(["", *names], tf.string), tf.constant(np.append(np.int32(MISSING), codes), tf.int32)
    )
    return tf.lookup.StaticHashTable(content, default_value=UNKNOWN)


def _wide(codes: tf.Tensor, feature: Feature) -> tf.Tensor:
    return tf.ensure_shape(codes, [None, feature.length])
