"""The towers learn what they should, and each correction does what its name says."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from features.keras2 import tensorflow as tf
from features.spec import Feature, FeatureSpec, Group, Kind, ModelInputs
from marketplace.baskets import slates_of
from marketplace.schema import SLATE
from retrieval.config import RetrievalConfig
from retrieval.pairs import ItemInputs, Pairs
from retrieval.tower_training import batches, expected_draws, fit, held_out_recall, mined_negatives
from retrieval.training_pairs import training_pairs
from retrieval.two_tower import TwoTower

pytestmark = pytest.mark.xdist_group("two_tower")  # one process makes what they share

SPEC = FeatureSpec(
    (
        Feature("user_id", Group.USER, Kind.CATEGORY, "user"),
        Feature("segment", Group.USER, Kind.CATEGORY, "segment"),
        Feature("history_items", Group.USER, Kind.CATEGORIES, "history", "item", 3),
        Feature("hour", Group.USER, Kind.NUMBER, "hour"),
        Feature("item_id", Group.ITEM, Kind.CATEGORY, "item", "item"),
        Feature("category", Group.ITEM, Kind.CATEGORY, "category"),
        Feature("name_tokens", Group.ITEM, Kind.CATEGORIES, "words", "token", 2),
        Feature("price", Group.ITEM, Kind.NUMBER, "price", None, 1, True),
    )
)
N_ITEMS, N_GROUPS = 60, 4
SIZES = {"user_id": 42, "segment": N_GROUPS + 2, "item": N_ITEMS + 2, "category": N_GROUPS + 2, "token": 12}
CONFIG = RetrievalConfig(
    dimensions=16, table_width=8, number_bins=4, hidden=(32,), batch=128, epochs=12, recall_k=5, uniform_negatives=16
)
GROUP = np.arange(N_ITEMS) % N_GROUPS


def catalogue() -> ItemInputs:
    """Items of four categories, whose names and prices follow the category."""
    rng = np.random.default_rng(0)
    codes = np.stack([np.arange(N_ITEMS) + 2, GROUP + 2], axis=1).astype(np.int32)
    lists = np.stack([GROUP + 2, rng.integers(6, 12, N_ITEMS)], axis=1).astype(np.int32)
    return ItemInputs(codes, lists, (10.0 * (1 + GROUP[:, None])).astype(np.float32))


def shopping(rows: int, *, popularity: np.ndarray, faithful: float = 1.0, seed: int = 0) -> Pairs:
    """Requests of 40 users in 4 segments; with chance `faithful` the item is of the segment's own category."""
    rng = np.random.default_rng(seed)
    user = rng.integers(40, size=rows)
    item = rng.choice(N_ITEMS, rows, p=popularity / popularity.sum())
    matching = rng.random(rows) < faithful
    for group in range(N_GROUPS):
        members = np.arange(group, N_ITEMS, N_GROUPS)
        mine = np.flatnonzero(matching & (user % N_GROUPS == group))
        item[mine] = rng.choice(members, len(mine), p=popularity[members] / popularity[members].sum())
    return Pairs(
        user_codes=np.stack([user + 2, user % N_GROUPS + 2], axis=1).astype(np.int32),
        user_lists=np.zeros((rows, 3), np.int32),
        user_numbers=rng.random((rows, 1)).astype(np.float32),
        request=np.arange(rows, dtype=np.int32),
        item=item.astype(np.int32),
        weight=np.ones(rows, np.float32),
    )


EVEN = np.ones(N_ITEMS)
SKEWED = 1.0 / (1 + np.arange(N_ITEMS) // N_GROUPS)


def trained(config: RetrievalConfig = CONFIG, *, popularity: np.ndarray = EVEN, items: ItemInputs | None = None):
    towers = TwoTower(SPEC, SIZES, config=config, rng=np.random.default_rng(0))
    train, later = (shopping(rows, popularity=popularity, seed=seed) for rows, seed in ((4_000, 1), (400, 2)))
    history = fit(towers, train, later, items or catalogue(), rng=np.random.default_rng(1), progress=False)
    return towers, history


@pytest.fixture(scope="module")
def even():
    return trained()


def test_towers_find_the_items_of_the_segments_category(even):
    towers, history = even
    later = shopping(300, popularity=EVEN, seed=3)
    queries = towers.embed_queries(later.user_codes, later.user_lists, later.user_numbers)
    items = towers.embed_items(catalogue())
    np.testing.assert_allclose(np.linalg.norm(items, axis=1), 1, rtol=1e-4)
    best = np.argsort(-(queries @ items.T), axis=1)[:, :5]
    same_group = GROUP[best] == (later.user_codes[:, 1] - 2)[:, None]
    assert same_group.mean() > 0.95
    # 5 of the 15 items of the category are a third of what can be known.
    assert history.recall[history.best] == pytest.approx(1 / 3, abs=0.1)


def test_before_training_the_loss_is_that_of_a_guess():
    """log(candidates): the embeddings know nothing yet, up to the spread of random cosines at temperature 1."""
    config = replace(CONFIG, temperature=1.0, correct_sampling=False, remove_accidental_hits=False, id_dropout=0.0)
    towers = TwoTower(SPEC, SIZES, config=config, rng=np.random.default_rng(0))
    train = shopping(128, popularity=EVEN)
    expected = expected_draws(train.item, catalogue(), config=config)
    batch = next(batches(train, catalogue(), expected, towers=towers, seed=(0, 0)))
    assert float(towers.compute_loss(batch)) / 128 == pytest.approx(np.log(128 + 16), rel=0.1)


def test_a_new_item_is_placed_by_its_category_name_and_price(even):
    towers, _ = even
    known, new = catalogue(), catalogue()
    new.codes[:, 0] = 1  # not in the vocabulary
    queries = shopping(200, popularity=EVEN, seed=4)
    embedded = towers.embed_queries(queries.user_codes, queries.user_lists, queries.user_numbers)
    best = np.argsort(-(embedded @ towers.embed_items(new).T), axis=1)[:, :5]
    assert (GROUP[best] == (queries.user_codes[:, 1] - 2)[:, None]).mean() > 0.9
    assert np.isfinite(towers.embed_items(known)).all()


def popularity_slope(towers: TwoTower) -> float:
    """How much a logit rises with the log popularity of the item, among the items of the segment's category."""
    later = shopping(200, popularity=SKEWED, seed=5)
    queries = towers.embed_queries(later.user_codes, later.user_lists, later.user_numbers)
    logits = queries @ towers.embed_items(catalogue()).T / towers.config.temperature
    same_group = (later.user_codes[:, 1] - 2)[:, None] == GROUP
    slopes = [np.polyfit(np.log(SKEWED[mine]), row[mine], 1)[0] for row, mine in zip(logits, same_group, strict=True)]
    return float(np.mean(slopes))


@pytest.mark.slow
def test_log_q_brings_popular_items_to_their_true_place():
    """P(item | request) is proportional to popularity here: the true slope of the logit on log popularity is 1."""
    config = replace(CONFIG, uniform_negatives=0, epochs=12, patience=12, batch=256)
    corrected, _ = trained(config, popularity=SKEWED)
    plain, _ = trained(replace(config, correct_sampling=False), popularity=SKEWED)
    assert popularity_slope(corrected) == pytest.approx(1.0, abs=0.25)
    assert popularity_slope(plain) < 0.4


@pytest.mark.slow
def test_temperature_decides_how_sure_the_towers_can_be():
    """At temperature 1, cosines within [-1, 1] cannot give one category of four more than e^2 / (e^2 + 3)."""
    config = replace(CONFIG, correct_sampling=False, id_dropout=0.0, epochs=5)
    later = shopping(200, popularity=EVEN, seed=5)
    same_group = (later.user_codes[:, 1] - 2)[:, None] == GROUP
    sure = {}
    for temperature in (0.05, 1.0):
        towers, _ = trained(replace(config, temperature=temperature))
        queries = towers.embed_queries(later.user_codes, later.user_lists, later.user_numbers)
        odds = np.exp(queries @ towers.embed_items(catalogue()).T / temperature)
        sure[temperature] = float(((odds * same_group).sum(axis=1) / odds.sum(axis=1)).mean())
    assert sure[0.05] > 0.95
    assert sure[1.0] < np.exp(2) / (np.exp(2) + 3)


def test_accidental_hits_are_no_negatives():
    """A batch of one item B times over holds no negative at all: the loss is 0, and log B where hits are kept."""
    train = replace(shopping(128, popularity=EVEN), item=np.zeros(128, np.int32))
    config = replace(CONFIG, uniform_negatives=0, id_dropout=0.0)
    expected = expected_draws(train.item, catalogue(), config=config)
    losses = []
    for remove in (True, False):
        settings = replace(config, remove_accidental_hits=remove)
        towers = TwoTower(SPEC, SIZES, config=settings, rng=np.random.default_rng(0))
        batch = next(batches(train, catalogue(), expected, towers=towers, seed=(0, 0)))
        losses.append(float(towers.compute_loss(batch)) / 128)
    np.testing.assert_allclose(losses, [0.0, np.log(128)], atol=1e-4)


def test_expected_draws_are_what_is_drawn():
    rng = np.random.default_rng(0)
    item = rng.choice(N_ITEMS, 1_000, p=SKEWED / SKEWED.sum()).astype(np.int32)
    drawn = np.zeros(N_ITEMS)
    for _ in range(2_000):
        batch = np.concatenate([rng.choice(item, 64), rng.integers(N_ITEMS, size=16)])
        drawn += np.bincount(batch, minlength=N_ITEMS)
    config = replace(CONFIG, batch=64, uniform_negatives=16)
    np.testing.assert_allclose(expected_draws(item, catalogue(), config=config), drawn / 2_000, rtol=0.1)


def test_negatives_are_items_that_had_begun():
    """What nobody could take yet is neither drawn nor mined; the others are expected as often as they are drawn."""
    begun = np.arange(N_ITEMS) % 4 > 0
    items, config = replace(catalogue(), begun=begun), replace(CONFIG, uniform_negatives=600, hard_negatives=128)
    towers = TwoTower(SPEC, SIZES, config=config, rng=np.random.default_rng(0))
    train = shopping(128, popularity=EVEN)
    train = replace(train, item=np.flatnonzero(begun)[train.item % begun.sum()].astype(np.int32))
    expected = expected_draws(train.item, items, config=config)
    np.testing.assert_allclose(expected[begun].sum(), config.batch + 600)
    assert (expected[~begun] == 0).all()
    mined = mined_negatives(towers, train, items, seed=(0, 1))
    batch = next(batches(train, items, expected, towers=towers, seed=(0, 1), mined=mined))
    assert begun[batch["item"].numpy()].all()
    assert len(batch["item"]) > 128 + 600  # some are mined too


def test_mined_negatives_are_near_the_request_and_were_not_taken(even):
    towers, _ = even
    train = shopping(500, popularity=EVEN, seed=6)
    mined = mined_negatives(towers, train, catalogue(), seed=(0, 1))
    assert not (mined == train.item[:, None]).any()
    same_group = GROUP[mined] == (train.user_codes[:, 1] - 2)[:, None]
    assert same_group[:, :10][mined[:, :10] >= 0].mean() > 0.9  # nearest first
    config = replace(CONFIG, hard_negatives=32, uniform_negatives=0)
    expected = expected_draws(train.item, catalogue(), config=config, mined=mined)
    share = np.bincount(mined[mined >= 0], minlength=N_ITEMS) / (mined >= 0).sum()
    np.testing.assert_allclose(expected, 128 * np.bincount(train.item, minlength=N_ITEMS) / 500 + 32 * share, rtol=1e-5)
    towers = TwoTower(SPEC, SIZES, config=config, rng=np.random.default_rng(0))
    batch = next(batches(train, catalogue(), expected, towers=towers, seed=(0, 1), mined=mined[:, :1]))
    hard = batch["item"].numpy()[128:]
    assert 0 < len(hard) <= 32
    assert set(hard) <= set(mined[:, 0])


def test_hidden_shoppers_have_neither_id_nor_history():
    train = replace(shopping(256, popularity=EVEN), user_lists=np.full((256, 3), 5, np.int32))
    expected = expected_draws(train.item, catalogue(), config=CONFIG)
    for share in (0.0, 0.5, 1.0):
        config = replace(CONFIG, history_dropout=share, id_dropout=0.0)
        towers = TwoTower(SPEC, SIZES, config=config, rng=np.random.default_rng(0))
        batch = next(batches(train, catalogue(), expected, towers=towers, seed=(0, 0)))
        hidden = batch["user_codes"].numpy()[:, 0] == 1
        np.testing.assert_array_equal((batch["user_lists"].numpy() == 0).all(axis=1), hidden)
        assert (batch["user_codes"].numpy()[:, 1] >= 2).all()  # the segment stays
        assert hidden.mean() == pytest.approx(share, abs=0.15)


@pytest.mark.parametrize("kind", ["transformer", "gru"])
def test_a_history_read_step_by_step_tells_what_follows(kind):
    """After item i comes item i + 1, whatever was before; at the tables' rate a Transformer keeps to a guess."""
    spec = FeatureSpec((SPEC.features[2], SPEC.features[4]))
    items = ItemInputs(catalogue().codes[:, :1], np.zeros((N_ITEMS, 0), np.int32), np.zeros((N_ITEMS, 0), np.float32))
    rng = np.random.default_rng(0)

    def walks(rows: int) -> Pairs:
        steps = rng.integers(N_ITEMS, size=(rows, 3))
        nothing = np.zeros((rows, 0), np.int32)
        item = (steps[:, 2] + 1) % N_ITEMS
        lists = (steps + 2).astype(np.int32)
        one = np.ones(rows, np.float32)
        return Pairs(nothing, lists, nothing.astype(np.float32), np.arange(rows), item.astype(np.int32), one)

    config = replace(CONFIG, sequence=kind, sequence_blocks=2, table_width=32, hidden=(), epochs=2, recall_k=1)
    towers = TwoTower(spec, {"item": N_ITEMS + 2}, config=config, rng=np.random.default_rng(0))
    history = fit(towers, walks(4_000), walks(300), items, rng=np.random.default_rng(1), progress=False)
    assert history.recall[history.best] > 0.9


def test_requests_may_have_a_history_and_nothing_else():
    spec = FeatureSpec(tuple(f for f in SPEC.features if f.group is Group.ITEM or f.kind is Kind.CATEGORIES))
    train = replace(shopping(256, popularity=EVEN), user_codes=np.zeros((256, 0), np.int32))
    expected = expected_draws(train.item, catalogue(), config=CONFIG)
    towers = SimpleNamespace(spec=spec, config=CONFIG)
    batch = next(batches(train, catalogue(), expected, towers=towers, seed=(0, 0)))
    assert batch["user_codes"].shape == (CONFIG.batch, 0)


def test_pairs_weigh_by_event_and_what_was_shown_alone_is_faint():
    """Two requests of four rows: ordered, clicked, shown, not shown; and carted, shown, of no known item, shown."""
    nothing = pa.nulls(8)
    item = {field.name: nothing for field in SLATE if pa.types.is_list(field.type)}
    item |= {"position": pa.array([1, 2, 3, 0, 1, 2, 3, 4])}
    slates = slates_of({"time": pa.array([1, 2])}, item, np.array([0, 4, 8]))
    frame = SimpleNamespace(request=np.repeat([0, 1], 4))
    labelled = SimpleNamespace(
        slates=slates,
        frame=frame,
        item=np.array([5, 6, 7, 8, 5, 6, -1, 9], np.int32),
        weight=np.array([1.0, 0.2, 0, 0, 0.5, 0, 1.0, 0]),
    )
    empty = np.zeros((2, 0), np.int32)
    inputs = ModelInputs(*[empty] * 8, frame.request)
    config = replace(CONFIG, order_weight=3.0, cart_weight=2.0, click_weight=1.0, shown_weight=0.5)
    both, rng = np.ones(2, bool), np.random.default_rng(0)
    learned = training_pairs(labelled, inputs, both, config=config, rng=rng)
    assert list(zip(learned.request, learned.item, strict=True)) == [(0, 5), (0, 6), (0, 7), (1, 5), (1, 6), (1, 9)]
    np.testing.assert_allclose(learned.weight, [3, 1, 0.5 / 3**0.5, 2, 0.5 / 2**0.5, 0.25])
    few = training_pairs(labelled, inputs, both, config=replace(config, pairs=4), rng=rng)
    assert {(0, 5), (0, 6), (1, 5)} < set(zip(few.request.tolist(), few.item.tolist(), strict=True))
    assert len(few) == 4
    first = training_pairs(labelled, inputs, np.array([True, False]), config=replace(config, shown_weight=0.0), rng=rng)
    assert list(first.item) == [5, 6]


def test_saved_towers_give_the_same_embeddings(even, tmp_path):
    towers, _ = even
    towers.save_towers(tmp_path / "towers")
    loaded = TwoTower.load_towers(tmp_path / "towers")
    np.testing.assert_array_equal(loaded.embed_items(catalogue()), towers.embed_items(catalogue()))
    assert not list(tmp_path.rglob("*.pkl"))


@pytest.mark.slow
@pytest.mark.parametrize("sequence", ["mean", "gru"])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, sequence):
    train, later = shopping(1_000, popularity=EVEN, seed=1), shopping(200, popularity=EVEN, seed=2)
    config = replace(CONFIG, epochs=4, patience=9, sequence=sequence, sequence_units=8)

    def run(epochs: int, checkpoint=None) -> tuple[TwoTower, list[float]]:
        towers = TwoTower(SPEC, SIZES, config=replace(config, epochs=epochs), rng=np.random.default_rng(0))
        history = fit(
            towers, train, later, catalogue(), rng=np.random.default_rng(1), checkpoint=checkpoint, progress=False
        )
        return towers, history.loss

    whole, losses = run(4)
    run(2, tmp_path / "state.npz")
    resumed, resumed_losses = run(4, tmp_path / "state.npz")
    assert resumed_losses == losses
    for name, array, other in zip(whole.arrays(), whole.arrays().values(), resumed.arrays().values(), strict=True):
        np.testing.assert_array_equal(other, array, err_msg=name)


def test_the_query_tower_runs_in_onnx_without_tensorflow(even):
    onnxruntime, tf2onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("tf2onnx")
    towers, _ = even
    function = towers.query_function()
    model, _ = tf2onnx.convert.from_function(function, input_signature=function.input_signature, opset=17)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    later = shopping(7, popularity=EVEN, seed=6)
    inputs = {"user_codes": later.user_codes, "user_lists": later.user_lists, "user_numbers": later.user_numbers}
    assert {entry.name for entry in session.get_inputs()} == set(inputs)
    embeddings = session.run(None, inputs)[0]
    np.testing.assert_allclose(embeddings, towers.embed_queries(*inputs.values()), atol=1e-5)


def test_held_out_recall_counts_items_among_the_nearest(even):
    towers, _ = even
    later = shopping(200, popularity=EVEN, seed=7)
    queries = towers.embed_queries(later.user_codes, later.user_lists, later.user_numbers)
    scores = queries @ towers.embed_items(catalogue()).T
    better = (scores > scores[np.arange(200), later.item][:, None]).sum(axis=1)
    assert held_out_recall(towers, later, catalogue()) == pytest.approx((better < CONFIG.recall_k).mean(), abs=0.02)


def test_weights_of_other_towers_are_refused(even):
    towers, _ = even
    other = TwoTower(SPEC, SIZES, config=replace(CONFIG, dimensions=8), rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="another feature spec"):
        other.assign(towers.arrays())
    assert tf.executing_eagerly()
