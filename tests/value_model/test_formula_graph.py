"""The TensorFlow twin of the formula: the same function table, the same numbers, and convertible to ONNX."""

import numpy as np
import pytest

from features.keras2 import tensorflow as tf
from value_model.formula import default_policy, evaluate_all, parse_policy, shipped_policies, shipped_policy
from value_model.formula.numpy_operations import numpy_operations
from value_model.formula.tree import FUNCTIONS
from value_model.formula.value_policy import ValuePolicy
from value_model.formula_graph import graph_value, graph_values, tensorflow_operations

tf.config.threading.set_intra_op_parallelism_threads(1)

HEADER = 'name = "t"\nowner = "o"\nreason = "r"\ncurrency = "SAR"\nunit = "1"\n'
QUANTITIES = "".join(f'[quantities.{q}]\nunit = "1"\nlow = -10\nhigh = 10\n' for q in ("x", "y", "g"))
EVERYTHING = (
    "x + 2 * y - x / (3 + abs(y)) + abs(x) ** 1.5 + exp(-y) + log(1 + x * x) + log1p(abs(y)) + sqrt(abs(x))"
    " + sigmoid(x) + clip(x, -1, 1) + max(x, y, 0) + min(x, y) + where(x < y and not x == 0 or y >= 2, x, number(y))"
    " + (1 if x != y else 2) + (x <= y) + (x > 1)"
    " + slate_mean(x) + slate_std(y) + slate_min(x) + slate_max(y) + slate_sum(x) + slate_rank(x)"
    " + slate_minmax(y) + slate_nth(x, g)"
)


def columns_for(policy: ValuePolicy, rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    columns = {}
    for name in policy.inputs:
        quantity = policy.quantity[name]
        columns[name] = rng.uniform(max(quantity.low, -100), min(quantity.high, 100), shape)
    if "merchant" in columns:
        columns["merchant"] = rng.integers(0, 5, shape).astype(float)
    return columns


def test_both_back_ends_implement_the_whole_grammar() -> None:
    assert set(numpy_operations((1,))) == FUNCTIONS
    assert set(tensorflow_operations(tf.zeros([1], tf.float64))) == FUNCTIONS


@pytest.mark.parametrize("name", shipped_policies())
@pytest.mark.parametrize("shape", [(30,), (4, 12)])
def test_every_shipped_policy_has_the_same_value_in_both(name: str, shape: tuple[int, ...]) -> None:
    policy = shipped_policy(name)
    columns = columns_for(policy, np.random.default_rng(0), shape)
    expected, actual = evaluate_all(policy, columns), graph_values(policy, columns)
    for expression, value in expected.items():
        np.testing.assert_allclose(actual[expression].numpy(), value, rtol=1e-12, atol=1e-12)


def test_what_is_not_known_is_stood_in_for_in_both() -> None:
    quantities = (
        '[quantities.x]\nunit = "1"\nlow = 0\nhigh = 9\nmissing = 7\n[quantities.y]\nunit = "1"\nlow = 0\nhigh = 9\n'
    )
    policy = parse_policy(f'{HEADER}[expressions]\nvalue = "x + 10 * y"\n{quantities}')
    columns = {"x": np.array([1.0, np.nan, 2.0]), "y": np.array([3.0, 4.0, np.nan])}
    expected = [31.0, 47.0, np.nan]
    np.testing.assert_array_equal(evaluate_all(policy, columns)["value"], expected)
    np.testing.assert_array_equal(graph_value(policy, columns).numpy(), expected)


@pytest.mark.parametrize("masked", [False, True])
def test_every_function_has_the_same_value_in_both(masked: bool) -> None:
    policy = parse_policy(f'{HEADER}[expressions]\nvalue = "{EVERYTHING}"\n{QUANTITIES}')
    rng = np.random.default_rng(1)
    columns = {"x": rng.normal(size=(5, 9)), "y": rng.normal(size=(5, 9)).round(), "g": rng.integers(0, 3, (5, 9))}
    columns["x"][0, :4] = 0.0
    mask = np.arange(9) < np.array([[9], [1], [5], [7], [3]]) if masked else None
    expected = evaluate_all(policy, columns, mask=mask)["value"]
    actual = graph_value(policy, columns, mask=mask).numpy()
    kept = np.ones((5, 9), bool) if mask is None else mask
    np.testing.assert_allclose(actual[kept], expected[kept], rtol=1e-12)


def test_weights_are_inputs_of_the_graph() -> None:
    policy = default_policy()
    columns = columns_for(policy, np.random.default_rng(2), (8,))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float64)])
    def value(weights: tf.Tensor) -> tf.Tensor:
        return graph_value(policy, columns, weights=dict(zip(policy.weight, tf.unstack(weights, 6), strict=True)))

    for seed in range(3):
        weights = np.random.default_rng(seed).random(6)
        expected = evaluate_all(policy, columns, weights=dict(zip(policy.weight, weights, strict=True)))["value"]
        np.testing.assert_allclose(value(weights).numpy(), expected, rtol=1e-13)


def test_log1p_is_exact_near_zero_and_at_its_edges() -> None:
    x = np.array([1e-20, -1e-12, 1e-7, 0.0, 3.0, -1.0, np.inf, 1e300])
    log1p = tensorflow_operations(tf.zeros([1], tf.float64))["log1p"]
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(log1p(tf.constant(x)).numpy(), np.log1p(x), rtol=1e-15)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(KeyError, match="ctr"):
        graph_value(default_policy(), {})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["everything", *shipped_policies()])
def test_the_graph_converts_to_onnx(name: str) -> None:
    import onnxruntime
    import tf2onnx

    everything = parse_policy(f'{HEADER}[expressions]\nvalue = "{EVERYTHING}"\n{QUANTITIES}')
    policy = everything if name == "everything" else shipped_policy(name)
    columns = columns_for(policy, np.random.default_rng(3), (20,))
    signature = [tf.TensorSpec([None], tf.float64, name=column) for column in columns]

    @tf.function(input_signature=signature)
    def value(*tensors: tf.Tensor) -> tf.Tensor:
        return graph_value(policy, dict(zip(columns, tensors, strict=True)))

    model, _ = tf2onnx.convert.from_function(value, signature, opset=17)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (actual,) = session.run(None, columns)
    np.testing.assert_allclose(actual, evaluate_all(policy, columns)[policy.result], rtol=1e-6, atol=1e-9)
