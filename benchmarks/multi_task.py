"""Does it pay that tasks share experts and not all of a bottom? Loss against the correlation of two tasks.

The synthetic pair of the MMoE paper: two regressions on the same inputs x ~ Normal(0, 1) in 100 dimensions,

    y_t = w_t . x + sum_i sin(a_i w_t . x + b_i) + noise,   w_1 = u_1,   w_2 = p u_1 + sqrt(1 - p^2) u_2

u_1 and u_2 orthonormal, so that p is the correlation of the linear parts. The bodies are the product's, of one size;
the first layer and the towers, with squared error, are this file's. Each draw of weights and data is learned by all
three from the same seed. Figures are medians over draws: now and then a fit stays in a poor minimum, whatever the body.
Source: Ma et al. 2018, Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts, sec. 3.2.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.record import Measure, print_table, record
from features.keras2 import tensorflow as tf
from value_model.rankers.bodies import he
from value_model.rankers.config import NetworkConfig
from value_model.rankers.lazy_adam import LazyAdam
from value_model.rankers.network import BODIES

SEED, DRAWS = 7, 5
INPUTS, NOISE = 100, 0.1  # its deviation
WAVES = np.array([[1.0, 0.0], [2.0, 0.5], [3.0, 1.0]], np.float32)  # a_i, b_i
CORRELATIONS = (0.0, 0.5, 1.0)
STEPS, BATCH, TEST, RATE = 24_000, 256, 20_000, 3e-3
SHAPE = NetworkConfig(experts=8, expert_units=(16, 16), tower_units=8, dropout=0.0)
SHAPES = {
    "shared bottom": replace(SHAPE, body="shared_bottom"),
    "MMoE": SHAPE,
    "PLE": replace(SHAPE, body="ple", experts=4, task_experts=2),  # eight experts a level too
}


class PairNetwork(tf.Module):
    """A body of the product between a first layer and towers, for two amounts with squared error."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        kind, rng = BODIES[config.body], np.random.default_rng(0)
        self.columns = kind.columns(config, 2)
        self.body = kind(config, (None, None), rng=rng)
        self.first = tf.Variable(tf.zeros([INPUTS, sum(self.columns)]), name="first")
        self.first_bias = tf.Variable(tf.zeros(sum(self.columns)), name="first_bias")
        self.tower = tf.Variable(tf.zeros([2, config.expert_units[1], config.tower_units]), name="tower")
        self.tower_bias = tf.Variable(tf.zeros([2, 1, config.tower_units]), name="tower_bias")
        self.last = tf.Variable(tf.zeros([2, config.tower_units, 1]), name="last")
        self.optimizer = LazyAdam(self.trainable_variables, decay=0.0)
        self.learned = self.trainable_variables
        self.fit = tf.function(self._fit, jit_compile=True)

    def start(self, rng: np.random.Generator) -> None:
        """Fresh weights: He-normal matrices, zero biases and gates."""
        for variable in self.learned:
            bias = variable.name.split(":")[0].endswith("bias") or variable.name.startswith("gate")
            variable.assign(tf.zeros_like(variable) if bias else he(rng, variable.shape))
        gates = np.arange(sum(self.columns)) >= self.columns.hidden
        self.first.assign(tf.where(gates, 0.0, self.first))
        for moment in (self.optimizer.step, *self.optimizer.first, *self.optimizer.second):
            moment.assign(tf.zeros_like(moment))

    def predict(self, x: tf.Tensor) -> tf.Tensor:
        """float32 [2, N]."""
        hidden, gates = tf.split(tf.matmul(x, self.first) + self.first_bias, list(self.columns), axis=1)
        towers = tf.nn.relu(tf.matmul(self.body(hidden, gates, None).tasks, self.tower) + self.tower_bias)
        return tf.matmul(towers, self.last)[:, :, 0]

    def _fit(self, weights: tf.Tensor, seed: tf.Tensor) -> None:
        for step in tf.range(STEPS):
            x, y = drawn(weights, tf.stack([seed, step]), rows=BATCH)
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.reduce_mean(tf.square(self.predict(x) - y), axis=1))
            left = 1.0 - tf.cast(step, tf.float32) / STEPS
            self.optimizer.apply(tape.gradient(loss, self.learned), self.learned, RATE * left)


def drawn(weights: tf.Tensor, seed: tf.Tensor, *, rows: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Inputs [rows, INPUTS] and the labels of both tasks [2, rows]; `weights` float32 [2, INPUTS]."""
    x = tf.random.stateless_normal([rows, INPUTS], seed)
    line = tf.matmul(weights, x, transpose_b=True)
    waves = tf.reduce_sum(tf.sin(line[..., None] * WAVES[:, 0] + WAVES[:, 1]), axis=2)
    return x, line + waves + NOISE * tf.random.stateless_normal([2, rows], seed + 1)


def task_weights(correlation: float, rng: np.random.Generator) -> np.ndarray:
    """w_1 and w_2, float32 [2, INPUTS]."""
    u = np.linalg.qr(rng.normal(size=(INPUTS, 2)))[0].T
    return np.stack([u[0], correlation * u[0] + np.sqrt(1 - correlation**2) * u[1]]).astype(np.float32)


def test_loss(model: PairNetwork, weights: np.ndarray, *, draw: int) -> float:
    """The mean squared error of a fit on fresh rows, both tasks together, as a share of the labels' variance."""
    model.start(np.random.default_rng([SEED, draw]))
    model.fit(tf.constant(weights), tf.constant(draw))
    x, y = drawn(tf.constant(weights), tf.constant([draw, STEPS]), rows=TEST)
    return float(tf.reduce_mean(tf.square(model.predict(x) - y)) / tf.math.reduce_variance(y))


def medians(
    name: str, values: np.ndarray, unit: str, *, over: np.ndarray | None = None, bar: str | None = None
) -> Measure:
    """The median over draws, or its ratio to that of `over`, with a bootstrap interval over draws."""
    drawn = np.random.default_rng(SEED).integers(len(values), size=(2_000, len(values)))
    below = np.ones_like(values) if over is None else over
    low, high = np.quantile(np.median(values[drawn], axis=1) / np.median(below[drawn], axis=1), [0.025, 0.975])
    value = float(np.median(values) / np.median(below))
    return Measure(name, value, unit, bar=bar, interval=(float(low), float(high)))


def main() -> None:
    models = {name: PairNetwork(shape) for name, shape in SHAPES.items()}
    measures = []
    for correlation in CORRELATIONS:
        pairs = [task_weights(correlation, np.random.default_rng([SEED, draw])) for draw in range(DRAWS)]
        losses = {
            name: np.array([test_loss(model, pair, draw=draw) for draw, pair in enumerate(pairs)])
            for name, model in models.items()
        }
        at = f"correlation {correlation:g}"
        measures += [medians(f"{at}: {name}", values, "of variance") for name, values in losses.items()]
        for name in ("MMoE", "PLE"):
            bar, shared = "< 1" if correlation < 1 else "0.9-1.1", losses["shared bottom"]
            measures.append(medians(f"{at}: {name} / shared bottom", losses[name], "", over=shared, bar=bar))
        print_table(at, measures[-5:])
    record("multi_task", measures, data="the MMoE paper's synthetic pair", seed=SEED)


if __name__ == "__main__":
    main()
