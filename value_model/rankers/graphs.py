"""The ranker as pure TensorFlow graphs for export: packed tensors in, calibrated heads out.

Conventions: every argument and result is named as in `ModelInputs`; the heads are float32 [N], learned and composed.
Positions are neutral. Only operations that tf2onnx converts are used, and every learned number is a Variable or a
constant made inside the graph.
"""

from __future__ import annotations

import numpy as np

from features.keras2 import tensorflow as tf
from features.spec import FeatureSpec, Group, Kind
from marketplace.heads import HeadKind, composed, head_of
from value_model.rankers.calibration import LEAST, LEAST_LEFT, Calibration, Calibrator
from value_model.rankers.logits import predictions
from value_model.rankers.mmoe import MMoE


class Graphs(tf.Module):
    """`whole`, and its two halves: `item_part` once an item, then `rest` given the items' part.

    Each is a tf.function of one signature. For a SavedModel, save this module with the graphs as signatures; for ONNX,
    pass a graph and its `.input_signature` to `tf2onnx.convert.from_function`.
    """

    def __init__(self, ranker: MMoE, calibration: Calibration) -> None:
        super().__init__(name="ranker")
        self.network, self._calibration = ranker.network, calibration
        user, item, cross = (group_specs(ranker.spec, group) for group in (Group.USER, Group.ITEM, Group.CROSS))
        request = tf.TensorSpec([None], tf.int32, name="request")
        part = tf.TensorSpec([None, ranker.network.first_bias.shape[0]], tf.float32, name="item_part")
        tail = [cross[0], cross[-1], request]
        self.whole = tf.function(self._whole, input_signature=[*user, *item, *tail])
        self.item_part = tf.function(self._item_part, input_signature=item)
        self.rest = tf.function(self._rest, input_signature=[*user, part, *tail])

    def _whole(
        self,
        user_codes,
        user_lists,
        user_numbers,
        item_codes,
        item_lists,
        item_numbers,
        cross_codes,
        cross_numbers,
        request,
    ):  # type: ignore[no-untyped-def]
        item_part = self.network.item_part(item_codes, item_lists, item_numbers)
        return self._rest(user_codes, user_lists, user_numbers, item_part, cross_codes, cross_numbers, request)

    def _item_part(self, item_codes, item_lists, item_numbers):  # type: ignore[no-untyped-def]
        return {"item_part": self.network.item_part(item_codes, item_lists, item_numbers)}

    def _rest(self, user_codes, user_lists, user_numbers, item_part, cross_codes, cross_numbers, request):  # type: ignore[no-untyped-def]
        user_part = self.network.user_part(user_codes, user_lists, user_numbers)
        raw = predictions(self.network.join(user_part, item_part, cross_codes, cross_numbers, request))
        heads = {name: calibrate(self._calibration.heads.get(name), values) for name, values in raw.items()}
        return composed({name: self._grouped(name, values, user_codes, request) for name, values in heads.items()})

    def _grouped(self, head: str, calibrated: tf.Tensor, user_codes: tf.Tensor, request: tf.Tensor) -> tf.Tensor:
        """The TensorFlow twin of the groups of `Calibration`."""
        for group in self._calibration.groups.get(head, ()):
            by_request = tf.gather(tf.constant(group.ratios, tf.float32), user_codes[:, group.column])
            ratio = tf.gather(by_request, request)
            money = head_of(head).kind is HeadKind.MONEY
            calibrated = calibrated * ratio if money else calibrated * ratio / (1 - calibrated + calibrated * ratio)
        return calibrated


def group_specs(spec: FeatureSpec, group: Group) -> list[tf.TensorSpec]:
    """The named signatures of a group's codes, lists and numbers."""
    codes = len(spec.select(group, Kind.CATEGORY))
    lists = sum(feature.length for feature in spec.select(group, Kind.CATEGORIES))
    numbers = len(spec.select(group, Kind.NUMBER))
    kinds = {"codes": (codes, tf.int32), "lists": (lists, tf.int32), "numbers": (numbers, tf.float32)}
    return [tf.TensorSpec([None, n], kind, name=f"{group.value}_{name}") for name, (n, kind) in kinds.items()]


def calibrate(calibrator: Calibrator | None, predicted: tf.Tensor) -> tf.Tensor:
    """The TensorFlow twin of `Calibrator.__call__`; a line of k points is a sum of k - 1 clipped ramps."""
    if calibrator is None or calibrator.kind == "identity":
        return predicted
    if calibrator.kind == "scale":
        return predicted * calibrator.slope
    z = tf.math.log(tf.maximum(predicted, LEAST)) - tf.math.log(tf.maximum(1 - predicted, LEAST_LEFT))
    if calibrator.kind == "platt":
        return tf.sigmoid(calibrator.slope * z + calibrator.intercept)
    x, y = np.array(calibrator.x, np.float32), np.array(calibrator.y, np.float32)
    ramps = tf.clip_by_value((z[:, None] - x[:-1]) / np.diff(x), 0.0, 1.0)
    # A product, not a sum along each row: a sum's rounding depends on where in memory the row lies.
    rate = y[0] + tf.linalg.matvec(ramps, np.diff(y))
    beyond = rate * tf.exp(z - tf.clip_by_value(z, x[0], x[-1]))
    return beyond / (1 - rate + beyond)
