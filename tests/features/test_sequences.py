"""Sequence encoders against slow oracles: what order, padding and an empty history do, and what each formula says."""

from __future__ import annotations

import numpy as np
import pytest

from features.definitions import standard_spec
from features.keras2 import tensorflow as tf
from features.layers.groups import GroupEncoder
from features.layers.history_steps import HistorySteps
from features.layers.sequence_shape import ENCODERS, SequenceShape
from features.layers.sequences import HistoryEncoder
from features.layers.tables import EmbeddingTables
from features.layers.target_attention import TargetAttention
from features.spec import Feature, FeatureSpec, Group, Kind, categories
from marketplace.finding import FieldError

LENGTH, READERS = 4, tuple(kind for kind in ENCODERS if kind != "mean")
SPEC = FeatureSpec(
    (
        Feature("query_tokens", Group.USER, Kind.CATEGORIES, "no history", vocabulary="token", length=2),
        categories(Group.USER, "history_items", "items", vocabulary="item", length=LENGTH),
        categories(Group.USER, "history_actions", "actions", vocabulary="action", length=LENGTH),
    )
)
SIZES = {"token": 5, "item": 12, "action": 5}
NO_WORDS = [0, 0]


def made(kind):
    rng = np.random.default_rng(0)
    tables = EmbeddingTables(SPEC, SIZES, width=3, rng=rng)
    if kind == "din":
        encoder = TargetAttention(SPEC, tables, item_width=5, units=8, rng=rng)
    elif kind == "mean":
        group = GroupEncoder(SPEC, Group.USER, tables, bins=2)
        return lambda lists: group(lists[:, :0], lists, tf.zeros([1, 0]))
    else:
        encoder = HistoryEncoder(SPEC, tables, shape=SequenceShape(kind, units=8, blocks=2), rng=rng)
    randomise(encoder, rng)
    return encoder


def randomise(layer, rng):
    for variable in layer.variables:
        variable.assign(rng.normal(0, 0.5, variable.shape).astype(np.float32))


def lists(items, actions):
    """One row of packed lists, padded at the end."""
    padded = [column + [0] * (LENGTH - len(column)) for column in (items, actions)]
    return np.array([NO_WORDS + padded[0] + padded[1]], np.int32)


@pytest.mark.parametrize("kind", READERS)
def test_an_empty_history_is_zeros_and_padding_changes_nothing(kind):
    encoder = made(kind)
    batch = np.concatenate([lists([], []), lists([2, 3, 4], [2, 3, 2]), lists([5], [1])])
    vectors = encoder(tf.constant(batch)).numpy()
    assert np.isfinite(vectors).all()
    assert (vectors[0] == 0).all()
    assert np.abs(vectors[1:]).max(axis=1).min() > 1e-3
    for row in range(3):
        np.testing.assert_allclose(vectors[row], encoder(tf.constant(batch[row : row + 1])).numpy()[0], atol=1e-6)


ORDERED = ("gru", "transformer", "ligr")


@pytest.mark.parametrize(("kind", "ordered"), [(kind, kind in ORDERED) for kind in ENCODERS])
def test_order_matters_where_a_sequence_is_read_step_by_step(kind, ordered):
    encoder = made(kind)
    one, other = (
        encoder(tf.constant(lists([items for items, _ in steps], [action for _, action in steps]))).numpy()
        for steps in ([(2, 2), (3, 3), (4, 2)], [(3, 3), (2, 2), (4, 2)])
    )
    assert (np.abs(one - other).max() > 1e-3) == ordered


@pytest.mark.parametrize("kind", ["transformer", "ligr"])
def test_no_step_reads_a_later_one(kind):
    """The newest of two steps is read as it is; the older one's state, were it read, would not know of it."""
    encoder = made(kind)
    steps, _ = encoder._steps(tf.constant(lists([2, 3, 4], [2, 3, 2])))
    with tf.GradientTape() as tape:
        tape.watch(steps)
        states = steps
        for block in encoder._reader._blocks:
            states = block(states)
        second = states[:, 1]
    reach = np.abs(tape.gradient(second, steps).numpy()[0]).max(axis=1)
    assert (reach[:2] > 1e-4).all()
    assert (reach[2:] == 0).all()


def test_gated_recurrence_is_its_formula():
    encoder = made("gru")
    (steps,), (mask,) = (part.numpy() for part in encoder._steps(tf.constant(lists([2, 3, 4], [2, 3, 2]))))
    reader, state = encoder._reader, np.zeros(8)
    into, within, bias = (v.numpy() for v in (reader._inputs, reader._state, reader._bias))
    for step in steps[mask > 0]:
        x, h = step @ into + bias, state @ within
        keep, reset = (1 / (1 + np.exp(-(x + h)[place])) for place in (slice(0, 8), slice(8, 16)))
        state = keep * state + (1 - keep) * np.tanh(x[16:] + reset * h[16:])
    np.testing.assert_allclose(encoder(tf.constant(lists([2, 3, 4], [2, 3, 2]))).numpy()[0], state, atol=1e-5)


def test_target_attention_is_its_formula_for_rows_of_several_requests():
    attention, rng = made("din"), np.random.default_rng(1)
    items, request = rng.normal(size=(5, 5)).astype(np.float32), np.array([0, 0, 1, 2, 2], np.int32)
    batch = np.concatenate([lists([2, 3, 4], [2, 3, 2]), lists([], []), lists([5], [1])])
    keys = attention.keys(tf.constant(batch))
    attended = attention(attention.query(tf.constant(items)), keys, tf.constant(request)).numpy()
    names = ("_query", "_of_query", "_of_step", "_of_both", "_bias", "_score")
    query, of_query, of_step, of_both, bias, score = (getattr(attention, name).numpy() for name in names)
    for n, r in enumerate(request):
        q, expected = items[n] @ query, np.zeros(8)
        for step, known in zip(keys.steps.numpy()[r], keys.mask.numpy()[r], strict=True):
            hidden = np.maximum(q @ of_query + step @ of_step + (q * step) @ of_both + bias, 0)
            expected += known / (1 + np.exp(-(hidden @ score))) * step / LENGTH
        np.testing.assert_allclose(attended[n], expected, atol=1e-5)
    assert (attended[2] == 0).all()


def test_a_spec_without_a_history_is_refused():
    spec = FeatureSpec((Feature("age", Group.USER, Kind.NUMBER, "no list"),))
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"none of the columns of a history: history_items"):
        HistorySteps(spec, EmbeddingTables(spec, {}, width=3, rng=rng), units=8, rng=rng)


def test_heads_that_cannot_share_the_units_are_refused():
    with pytest.raises(FieldError, match=r"10 units of a step of the history cannot be shared by 3 attention heads"):
        SequenceShape("ligr", units=10, heads=3)


def test_the_columns_are_in_a_spec_that_reads_sequences():
    names = ["history_merchants", "history_actions", "history_ages", "history_prices"]
    lists_of = [[f.name for f in standard_spec(sequence=s).select(Group.USER, Kind.CATEGORIES)] for s in (False, True)]
    assert lists_of[1] == lists_of[0] + names
