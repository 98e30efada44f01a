"""The ranker as pure TensorFlow graphs for export: packed tensors in, calibrated heads out.

Conventions: every argument and result is named as in `ModelInputs`; the heads are float32 [N], learned and composed.
What is done to a head after the network and the trees is done on its log scale (`value_model.rankers.logits`), float64.
Positions are neutral. Only operations that tf2onnx converts are used, and every learned number is a Variable or a
constant made inside the graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from features.keras2 import tensorflow as tf
from features.spec import FeatureSpec, Group, Kind
from marketplace.heads import composed
from value_model.rankers.calibration import Calibration, Calibrator
from value_model.rankers.forest import TREE_SCORES
from value_model.rankers.forest_graph import ForestGraph
from value_model.rankers.forest_tables import ForestTables, forest_tables
from value_model.rankers.logits import from_log_scale, log_scale
from value_model.rankers.network import Network
from value_model.rankers.network_ranker import NetworkRanker
from value_model.rankers.opinion_pool import NETWORK, POOL, OpinionPool
from value_model.rankers.stack import LIBRARIES, Stack
from value_model.rankers.trees import Trees

ServedRanker = NetworkRanker | Trees | OpinionPool | Stack


class Graphs(tf.Module):
    """`whole`, and its parts: `item_part` once an item (None without a network), then `rest` given the items' part.

    Of trees, `rest` takes TREE_SCORES, float64 [N, heads]: the sums of their leaves, which each runtime computes in its
    own way. Each is a tf.function of one signature. For a SavedModel, save this module with the graphs as signatures;
    for ONNX, pass a graph and its `.input_signature` to `tf2onnx.convert.from_function`.
    """

    def __init__(self, ranker: ServedRanker, calibration: Calibration) -> None:
        super().__init__(name="ranker")
        self._ranker, self._calibration = ranker, calibration
        self._members = heard(ranker)
        networks = [member.network for member in self._members.values() if isinstance(member, NetworkRanker)]
        self.network = networks[0] if networks else None
        self.forests = forests([member for member in self._members.values() if isinstance(member, Trees)])
        self._sums = [ForestGraph(tables) for tables in self.forests]
        user, item, cross = (group_specs(ranker.spec, group) for group in (Group.USER, Group.ITEM, Group.CROSS))
        tail = [cross[0], cross[-1], tf.TensorSpec([None], tf.int32, name="request")]
        inner = [tf.TensorSpec([None, len(self.forests)], tf.float64, name=TREE_SCORES)] if self.forests else []
        self.item_part = None
        if self.network is not None:
            inner.append(tf.TensorSpec([None, self.network.item_width], tf.float32, name="item_part"))
            self.item_part = tf.function(self._item_part, autograph=False, input_signature=item)
        self.whole = tf.function(self._whole, autograph=False, input_signature=[*user, *item, *tail])
        self.rest = tf.function(self._rest, autograph=False, input_signature=[*user, *inner, *tail])

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
        user = {"user_codes": user_codes, "user_lists": user_lists, "user_numbers": user_numbers}
        rows = {"cross_codes": cross_codes, "cross_numbers": cross_numbers, "request": request}
        inner = {}
        if self.network is not None:
            inner["item_part"] = self.network.item_part(item_codes, item_lists, item_numbers)
        if self.forests:
            packed = {**user, **rows, "item_codes": item_codes, "item_numbers": item_numbers}
            inner[TREE_SCORES] = tf.stack([forest.score(packed) for forest in self._sums], axis=1)
        return self._heads({**user, **inner, **rows})

    def _item_part(self, item_codes, item_lists, item_numbers):  # type: ignore[no-untyped-def]
        assert self.network is not None
        return {"item_part": self.network.item_part(item_codes, item_lists, item_numbers)}

    def _rest(self, *tensors):  # type: ignore[no-untyped-def]
        names = [spec.name for spec in self.rest.input_signature]
        return self._heads(dict(zip(names, tensors, strict=True)))

    def _heads(self, call: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        heads = {}
        for name, raw in self._raw(call).items():
            calibrated = calibrate(self._calibration.heads.get(name), raw)
            offset = self._offsets(name, call["user_codes"], call["request"])
            heads[name] = tf.cast(from_log_scale(name, calibrated + offset), tf.float32)
        return composed(heads)

    def _offsets(self, head: str, user_codes: tf.Tensor, request: tf.Tensor) -> tf.Tensor | float:
        """What the groups of `Calibration` add, float64 [N]."""
        groups = self._calibration.groups.get(head, ())
        by_group = [tf.gather(tf.constant(g.offsets, tf.float64), user_codes[:, g.column]) for g in groups]
        return tf.gather(tf.add_n(by_group), request) if by_group else 0.0

    def _raw(self, call: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The learned heads before calibration."""
        if isinstance(self._ranker, Stack):
            scores = tf.cast(call[TREE_SCORES], tf.float32)
            cross = tf.concat([call["cross_numbers"], scores], axis=1)
            return self._network_heads(self._ranker.network.network, {**call, "cross_numbers": cross})
        opinions, start = {}, 0
        for name, member in self._members.items():
            if isinstance(member, NetworkRanker):
                opinions[name] = self._network_heads(member.network, call)
            else:
                end = start + len(member.heads)
                opinions[name] = tree_heads(member, call[TREE_SCORES][:, start:end])
                start = end
        if not isinstance(self._ranker, OpinionPool):
            return next(iter(opinions.values()))
        shares = self._ranker.weights.items()
        return {head: tf.add_n([w * opinions[one][head] for one, w in of.items() if w]) for head, of in shares}

    def _network_heads(self, network: Network, call: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        user_part = network.user_part(call["user_codes"], call["user_lists"], call["user_numbers"])
        rows = call["item_part"], call["cross_codes"], call["cross_numbers"], call["request"]
        return log_scale(network.join(user_part, *rows))


def load_ranker(folder: Path) -> ServedRanker:
    """The ranker that its `save` wrote into a folder, whichever it is."""
    if (folder / POOL).exists():
        return OpinionPool.load(folder)
    if (folder / LIBRARIES).exists():
        return Stack.load(folder)
    return NetworkRanker.load(folder) if (folder / "network.json").exists() else Trees.load(folder)


def heard(ranker: ServedRanker) -> dict[str, NetworkRanker | Trees]:
    """What has a say in a ranker, by name: of a pool the members with a weight in any head."""
    if isinstance(ranker, Stack):
        return {NETWORK: ranker.network, **ranker.trees}
    if not isinstance(ranker, OpinionPool):
        return {"ranker": ranker}
    weights = ranker.weights.values()
    return {name: member for name, member in ranker.members.items() if any(shares[name] for shares in weights)}


def forests(trees: Sequence[Trees]) -> tuple[ForestTables, ...]:
    """The tables of a learned head of each."""
    return tuple(forest_tables(one.forest(head), one.places) for one in trees for head in one.heads)


def tree_heads(trees: Trees, scores: tf.Tensor) -> dict[str, tf.Tensor]:
    """The TensorFlow twin of `Trees.predict` on the log scale, from scores [N, heads]."""
    heads = zip(trees.heads, tf.unstack(scores, num=len(trees.heads), axis=1), strict=True)
    return {head: score + np.log(trees.smearing.get(head, 1.0)) for head, score in heads}


def group_specs(spec: FeatureSpec, group: Group) -> list[tf.TensorSpec]:
    """The named signatures of a group's codes, lists and numbers."""
    codes = len(spec.select(group, Kind.CATEGORY))
    lists = sum(feature.length for feature in spec.select(group, Kind.CATEGORIES))
    numbers = len(spec.select(group, Kind.NUMBER))
    kinds = {"codes": (codes, tf.int32), "lists": (lists, tf.int32), "numbers": (numbers, tf.float32)}
    return [tf.TensorSpec([None, n], kind, name=f"{group.value}_{name}") for name, (n, kind) in kinds.items()]


def calibrate(calibrator: Calibrator | None, raw: tf.Tensor) -> tf.Tensor:
    """The TensorFlow twin of `Calibrator.__call__` on the log scale; a line of k points is a sum of k - 1 ramps."""
    if calibrator is None or calibrator.kind == "identity":
        return raw
    if calibrator.kind == "scale":
        return raw + np.log(calibrator.slope)
    if calibrator.kind == "platt":
        return calibrator.slope * raw + calibrator.intercept
    x, y = np.array(calibrator.x), np.array(calibrator.y)
    ramps = tf.clip_by_value((raw[:, None] - x[:-1]) / np.diff(x), 0.0, 1.0)
    # A product, not a sum along each row: a sum's rounding depends on where in memory the row lies.
    rate = y[0] + tf.linalg.matvec(ramps, np.diff(y))
    return tf.math.log(rate) - tf.math.log(1 - rate) + raw - tf.clip_by_value(raw, x[0], x[-1])
