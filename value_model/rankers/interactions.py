"""Interactions of features: products of inputs, which experts only approximate, straight to every task's logit.

All work on K columns of the first layer, which are sums over the user's, the item's and the cross inputs, so that the
item's share is still computed once an item:

    none   nothing
    fm     sum over pairs i < j of v_i v_j x_i x_j = ((x @ V)^2 - x^2 @ V^2) / 2, [K]; the last is a sum over groups too
    dcn    x_0 = x @ V,  x_l+1 = x_0 * (x_l @ A_l @ B_l + b_l) + x_l,  A_l [K, rank], B_l [rank, K]

Sources: Rendle 2010, Factorization Machines, equation 5, here before the sum over factors; Wang et al. 2021, DCN V2,
equations 1 and 2, low rank, here on a projection of the inputs.
"""

from __future__ import annotations

import numpy as np

from features.keras2 import keras
from features.keras2 import tensorflow as tf
from value_model.rankers.config import NetworkConfig


class CrossNetwork(keras.layers.Layer):
    """`config.cross_layers` cross layers of rank `config.cross_rank` on float32 [N, K]."""

    def __init__(self, config: NetworkConfig, *, rng: np.random.Generator) -> None:
        super().__init__(name="cross_network")
        layers, rank, units = config.cross_layers, config.cross_rank, config.interaction_units
        self._layers = layers
        down, up = (rng.normal(0, units**-0.5, shape) for shape in ((layers, units, rank), (layers, rank, units)))
        self.down = tf.Variable(down.astype(np.float32), name="cross_down")
        self.up = tf.Variable(up.astype(np.float32), name="cross_up")
        self.bias = tf.Variable(np.zeros((layers, units), np.float32), name="cross_bias")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        crossed = inputs
        for layer in range(self._layers):
            weighed = tf.matmul(tf.matmul(crossed, self.down[layer]), self.up[layer]) + self.bias[layer]
            crossed = inputs * weighed + crossed
        return crossed


def pairs(sums: tf.Tensor, squares: tf.Tensor) -> tf.Tensor:
    """The factorisation machine's products of pairs, by factor, float32 [N, K]."""
    return (tf.square(sums) - squares) / 2
