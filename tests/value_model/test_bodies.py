"""Bodies and interactions are their formulas, learn in all their weights, and say how their experts fare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ranking_market import CLICKS, SIZES, SPEC, assert_is_a_ranker, market

from features.keras2 import tensorflow as tf
from marketplace.heads import heads_of, learned_heads
from marketplace.settings import settings_of
from value_model.rankers.bodies import sources_of
from value_model.rankers.config import NetworkConfig, TrainingConfig
from value_model.rankers.expert_health import expert_health
from value_model.rankers.information_transfer import InformationTransfer
from value_model.rankers.interactions import CrossNetwork
from value_model.rankers.loss_balance import BALANCES
from value_model.rankers.network import BODIES
from value_model.rankers.network_ranker import NetworkRanker
from value_model.rankers.progressive_extraction import ProgressiveExtraction
from value_model.rankers.ranker import RankingData
from value_model.rankers.training import Fitting, tensors

SMALL = NetworkConfig(
    embedding=4, bins=4, experts=2, expert_units=(8, 6), tower_units=4, dropout=0.0, positions=8, cross_rank=2
)
SOURCES = sources_of(learned_heads(CLICKS))
SHAPES = [(body, "none") for body in BODIES] + [("mmoe", "dcn"), ("mmoe", "fm")]


@pytest.fixture(scope="module")
def data() -> RankingData:
    return market(np.random.default_rng(0), requests=40).data


@pytest.fixture
def uncompiled() -> Iterator[None]:
    """Graphs of a few rows cost more to compile than to run."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def ranker(data: RankingData, config: NetworkConfig = SMALL) -> NetworkRanker:
    """Every weight is moved, so that each of them matters."""
    rng = np.random.default_rng(1)
    model = NetworkRanker(SPEC, SIZES, config=config, heads=learned_heads(CLICKS), rng=rng)
    model.network.adapt(data)
    for variable in model.network.trainable_variables:
        variable.assign_add(rng.normal(0, 0.1, variable.shape).astype(np.float32))
    return model


def test_a_task_reads_from_the_task_of_its_condition() -> None:
    assert SOURCES == (None, 0, 1)
    assert sources_of(heads_of(["ctcvr", "order_value"])) == (None, 0)
    assert sources_of(heads_of(["ctr", "cvr", "cart", "order_value"])) == (None, 0, 1, None)


def test_every_choice_of_a_setting_is_built() -> None:
    choices = {
        one.name: set(one.range.choices) for kind in (NetworkConfig, TrainingConfig) for one in settings_of(kind)
    }
    assert choices["body"] == set(BODIES)
    assert choices["loss_weights"] == {"fixed", "uncertainty", *BALANCES}


@pytest.mark.parametrize(("body", "interactions"), SHAPES)
def test_every_shape_is_a_ranker_that_learns_in_all_its_weights(
    data: RankingData, tmp_path: Path, uncompiled: None, body: str, interactions: str
) -> None:
    model = ranker(data, replace(SMALL, body=body, interactions=interactions))
    fitting = Fitting(model, config=TrainingConfig(), seed=0)
    with tf.GradientTape() as tape:
        total = tf.add_n(list(fitting._losses(tensors(data, np.zeros(40, bool)), None).values()))
    learned = model.network.trainable_variables
    for variable, gradient in zip(learned, tape.gradient(total, learned), strict=True):
        assert gradient is not None, variable.name
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, variable.name
    assert_is_a_ranker(model, data)
    model.save(tmp_path)
    for head, values in NetworkRanker.load(tmp_path).predict(data.inputs).items():
        np.testing.assert_array_equal(values, model.predict(data.inputs)[head])


def relu(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, 0)


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum()


def moved(layer, rng: np.random.Generator) -> None:  # type: ignore[no-untyped-def]
    for variable in layer.trainable_variables:
        variable.assign(rng.normal(0, 0.7, variable.shape).astype(np.float32))


def test_progressive_extraction_is_its_formula_row_by_row() -> None:
    """Two levels, two experts a task and one shared: groups 0 0 1 1 2 2 3 by task, shared last."""
    config, rng = replace(SMALL, levels=2, task_experts=2, experts=1), np.random.default_rng(2)
    body = ProgressiveExtraction(config, SOURCES, rng=rng)
    moved(body, rng)
    columns, group = ProgressiveExtraction.columns(config, 3), [0, 0, 1, 1, 2, 2, 3]
    assert columns == (7 * 8, 4 * 7)
    hidden, gates = (rng.normal(size=(2, n)).astype(np.float32) for n in columns)
    made = body(hidden, gates, None)
    for row in range(2):
        taken, logits = relu(hidden[row].reshape(7, 8)), gates[row].reshape(4, 7)
        for level in range(2):
            weights, bias = body.expert[level].numpy(), body.expert_bias[level].numpy()[:, 0]
            experts = np.stack([relu(taken[e] @ weights[e] + bias[e]) for e in range(7)])
            seen = [[e for e in range(7) if g == 3 or group[e] in (g, 3)] for g in range(len(logits))]
            mixtures = np.stack([softmax(logits[g][seen[g]]) @ experts[seen[g]] for g in range(len(logits))])
            if level == 0:
                taken = np.stack([mixtures[g] for g in group])
                logits = np.stack([mixtures[g] @ body.gate[0].numpy()[g] for g in range(3)])
        np.testing.assert_allclose(made.tasks[:, row], mixtures, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(made.shares[1][row], softmax(logits[1][seen[1]]), rtol=1e-4, atol=1e-6)


def test_information_transfer_is_its_formula_along_ctr_cvr_amount() -> None:
    rng = np.random.default_rng(3)
    body = InformationTransfer(SMALL, SOURCES, rng=rng)
    moved(body, rng)
    hidden = rng.normal(size=(2, 3 * 8)).astype(np.float32)
    made = body(hidden, hidden[:, :0], None)
    weights, biases = body.transfer.numpy(), body.transfer_bias.numpy()[:, :, 0]
    for row in range(2):
        state = None
        for task in range(3):
            bottom = relu(
                relu(hidden[row].reshape(3, 8)[task]) @ body.expert.numpy()[task] + body.expert_bias.numpy()[task, 0]
            )
            if state is None:
                state = bottom
            else:
                pair = [state @ weights[task, 0] + biases[task, 0], bottom]
                value, query, key = ([u @ weights[task, k] + biases[task, k] for u in pair] for k in (1, 2, 3))
                share = softmax(np.array([q @ k / np.sqrt(6) for q, k in zip(query, key, strict=True)]))
                state = share @ np.stack(value)
            np.testing.assert_allclose(made.tasks[task, row], state, rtol=1e-4, atol=1e-5)


def test_a_cross_layer_multiplies_its_input_by_a_low_rank_map_of_itself() -> None:
    rng = np.random.default_rng(4)
    layer = CrossNetwork(replace(SMALL, interaction_units=5, cross_layers=2), rng=rng)
    moved(layer, rng)
    inputs = rng.normal(size=(3, 5)).astype(np.float32)
    crossed = inputs
    for down, up, bias in zip(layer.down.numpy(), layer.up.numpy(), layer.bias.numpy(), strict=True):
        crossed = inputs * (crossed @ (down @ up) + bias) + crossed
    np.testing.assert_allclose(layer(inputs), crossed, rtol=1e-4, atol=1e-5)


def test_the_factorisation_machine_is_the_sum_over_all_pairs_of_inputs(data: RankingData) -> None:
    """Over the inputs of all three groups, though the sums are taken group by group."""
    network = ranker(data, replace(SMALL, interactions="fm", interaction_units=3)).network
    network.first_bias.assign(tf.zeros_like(network.first_bias))
    rows = tensors(data, np.zeros(40, bool))
    user, item = ([rows[f"{group}_{kind}"] for kind in ("codes", "lists", "numbers")] for group in ("user", "item"))
    cross, request = (rows["cross_codes"], rows["cross_numbers"]), rows["request"]
    first = network.first(network.user_part(*user), network.item_part(*item), *cross, request)
    encoded = [
        network.user(*user).numpy()[data.inputs.request],
        network.item(*item),
        network.cross(cross[0], cross[0], cross[1]),
    ]
    x = np.concatenate(encoded, axis=1).astype(np.float64)
    v = np.concatenate([network._first[group].numpy()[:, -3:] for group in ("user", "item", "cross")])
    every = sum(x[:, [i]] * x[:, [j]] * v[i] * v[j] for i in range(len(v)) for j in range(i))
    np.testing.assert_allclose(network._interacted(first), every @ network.last_products.numpy(), rtol=1e-3, atol=1e-3)


def test_expert_health_counts_zeros_dead_units_and_how_gates_choose(data: RankingData) -> None:
    model = ranker(data)
    healthy = expert_health(model, data.inputs)
    assert healthy.warning() == ""
    assert max(healthy.zeros) < 0.9
    assert set(healthy.choice) == {"ctr", "cvr", "order_value"}
    bias = model.network.body.expert_bias.numpy()
    bias[1] = -1e6
    model.network.body.expert_bias.assign(bias)
    gates = model.network._columns["hidden"] + np.arange(2)
    first = model.network.first_bias.numpy()
    first[gates] = [50, -50]  # of ctr: all on the first expert
    model.network.first_bias.assign(first)
    health = expert_health(model, data.inputs)
    assert health.collapsed == (1,)
    assert health.dead[1] == health.zeros[1] == 1
    assert "experts 1 are over 90% zeros" in health.warning()
    assert health.choice["ctr"] == pytest.approx(0, abs=1e-6)
    assert health.choice["cvr"] > 0.5
