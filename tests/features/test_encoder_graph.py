"""The encoder in a graph gives the codes that the encoder gives."""

from __future__ import annotations

from zlib import crc32

import numpy as np
import pyarrow as pa
import pytest

from features.encoder import Encoder
from features.encoder_graph import EncoderGraph, raw_specs
from features.encoder_graph import crc32 as graph_crc32
from features.keras2 import tensorflow as tf
from features.spec import FeatureFrame, FeatureSpec, Group, categories, category, number

SPEC = FeatureSpec(
    (
        category(Group.USER, "city", "a city"),
        categories(Group.USER, "history", "items", vocabulary="item", length=3),
        categories(Group.USER, "query", "words", vocabulary="word", length=2),
        number(Group.USER, "age", "years"),
        category(Group.ITEM, "item_id", "an item", vocabulary="item"),
        categories(Group.ITEM, "name", "words", vocabulary="word", length=2),
        category(Group.CROSS, "room", "offered"),
        number(Group.CROSS, "distance", "km"),
    )
)
VOCABULARIES = {"city": ("مكة", "x"), "item": ("a", "b"), "word": ("red", "حذاء"), "room": ("suite",)}
USER = {"city": ["x", "مكة", "", "Ω"], "age": [1.0, np.nan, 3.0, 4.0]}
LISTS = {"history": [["a", "b", "?", "a"], ["b"], [], ["", "a"]], "query": [["red"], ["x", "red", "حذاء"], [], [""]]}
ROWS = {"item_id": ["b", "", "new", "a", "a"], "name": ["red", "", "a red حذاء", "x  red", "حذاء"]}
CROSS = {"room": ["suite", "a room that no vocabulary holds", "", "غرفة", "suite"]}
DISTANCE = np.array([0.5, np.nan, 2, 3, 4], np.float32)


@pytest.mark.parametrize("buckets", [{}, {"room": 7, "item": 1024}])
def test_it_codes_as_the_encoder_does(buckets):
    encoder = Encoder(SPEC, VOCABULARIES, buckets)
    columns = {name: pa.array(values) for name, values in (USER | LISTS | ROWS | CROSS).items()}
    columns["name"] = pa.array([text.split(" ") if text else [] for text in ROWS["name"]])
    columns |= {"age": pa.array(USER["age"], pa.float32()), "distance": pa.array(DISTANCE)}
    expected = encoder.encode(FeatureFrame(SPEC, np.array([0, 2, 3, 3, 5]), columns))
    graph = EncoderGraph(encoder)
    for request in range(4):  # one at a time, as long as its lists are
        raw = {name: tf.constant(values[request : request + 1]) for name, values in USER.items()}
        raw |= {name: tf.constant([rows[request]], tf.string) for name, rows in LISTS.items()}
        packed = graph.packed(raw, Group.USER, rows=1)
        for name in ("user_codes", "user_lists", "user_numbers"):
            np.testing.assert_array_equal(packed[name][0], getattr(expected, name)[request])
    raw = {name: tf.constant(values) for name, values in (ROWS | CROSS).items()} | {"distance": DISTANCE}
    for group in (Group.ITEM, Group.CROSS):
        for name, values in graph.packed(raw, group, rows=5).items():
            np.testing.assert_array_equal(values, getattr(expected, name, np.zeros((5, 0))))


def test_requests_go_together_where_their_lists_are_filled_up():
    graph, cut = EncoderGraph(Encoder(SPEC, VOCABULARIES)), [["b", "?", "a"], ["b", "", ""]]
    raw = {"city": tf.constant(["x", ""]), "history": tf.constant(cut), "query": tf.constant([["", ""], ["red", ""]])}
    packed = graph.packed(raw | {"age": tf.constant([1.0, 2.0])}, Group.USER, rows=2)
    assert packed["user_lists"].numpy().tolist() == [[3, 1, 2, 0, 0], [3, 0, 0, 2, 0]]


def test_crc_32_is_that_of_zlib():
    rng = np.random.default_rng(0)
    texts = [bytes(rng.integers(0, 256, n, dtype=np.uint8)) for n in (0, 1, 2, 9, 300)]
    assert graph_crc32(tf.constant(texts)).numpy().tolist() == [crc32(text) for text in texts]
    assert graph_crc32(tf.zeros([0], tf.string)).shape == [0]


def test_inputs_are_named_and_shaped_by_feature():
    names = {feature.name: feature.name.replace("city", "town") for feature in SPEC.features}
    specs = [spec for group in Group for spec in raw_specs(SPEC, group, names=names)]
    shapes = {spec.name: (spec.shape.as_list(), spec.dtype) for spec in specs}
    assert shapes["town"] == ([1], tf.string)
    assert shapes["history"] == ([1, None], tf.string)
    assert shapes["name"] == ([None], tf.string)
    assert shapes["distance"] == ([None], tf.float32)
    assert set(names.values()) == set(shapes)
