"""Forests as ONNX nodes (ai.onnx.ml TreeEnsemble), put before a graph that takes their scores as an input.

    packed inputs -> matrix, float64 [N, F] -> one TreeEnsemble a head -> tree_scores, float64 [N, heads]

Float32 inputs, thresholds and leaf values are exact in float64, so that scores are those of the library that grew the
trees, to the rounding of a sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from serving.scorer import input_widths
from value_model.rankers.forest import TREE_SCORES, Forest, Place, Split
from value_model.rankers.trees import Trees

DOMAIN, OPSET = "ai.onnx.ml", 5
AT_MOST, MEMBER = 0, 6  # modes of a node
SUM, NONE = 1, 0  # aggregate function, post transform


def prepend(model: ModelProto, members: Sequence[Trees]) -> None:
    """Replace the input `tree_scores` of `model`, in place, by nodes that compute it from packed inputs."""
    graph = model.graph
    graph.input.remove(next(tensor for tensor in graph.input if tensor.name == TREE_SCORES))
    inputs, nodes = _matrix(members[0].places, widths=input_widths(members[0].spec))
    known = {tensor.name for tensor in graph.input}
    graph.input.extend(tensor for tensor in inputs if tensor.name not in known)
    forests = [trees.forest(head) for trees in members for head in trees.heads]
    scores = [f"tree_score_{number}" for number in range(len(forests))]
    nodes += [
        tree_ensemble(forest, matrix="tree_matrix", score=score) for forest, score in zip(forests, scores, strict=True)
    ]
    nodes.append(helper.make_node("Concat", scores, [TREE_SCORES], axis=1))
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
    model.opset_import.append(helper.make_opsetid(DOMAIN, OPSET))


def tree_ensemble(forest: Forest, *, matrix: str, score: str) -> NodeProto:
    """The node of one forest: float64 [N, F] -> [N, 1]."""
    columns = _Columns()
    roots = [columns.add(root) for root in forest]
    sets = {"membership_values": _doubles(columns.members)} if columns.members else {}
    return helper.make_node(
        "TreeEnsemble",
        [matrix],
        [score],
        domain=DOMAIN,
        n_targets=1,
        aggregate_function=SUM,
        post_transform=NONE,
        tree_roots=roots,
        nodes_featureids=columns.feature,
        nodes_modes=numpy_helper.from_array(np.array(columns.mode, np.uint8)),
        nodes_splits=_doubles(columns.threshold),
        nodes_truenodeids=columns.left,
        nodes_trueleafs=columns.left_is_leaf,
        nodes_falsenodeids=columns.right,
        nodes_falseleafs=columns.right_is_leaf,
        nodes_missing_value_tracks_true=columns.missing_left,
        leaf_targetids=[0] * len(columns.leaf),
        leaf_weights=_doubles(columns.leaf),
        **sets,
    )


@dataclass
class _Columns:
    """The attributes of a TreeEnsemble: a row a split, and the leaves; member lists end with NaN."""

    feature: list[int] = field(default_factory=list)
    mode: list[int] = field(default_factory=list)
    threshold: list[float] = field(default_factory=list)
    missing_left: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    left_is_leaf: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    right_is_leaf: list[int] = field(default_factory=list)
    members: list[float] = field(default_factory=list)
    leaf: list[float] = field(default_factory=list)

    def add(self, split: Split) -> int:
        """The row of a split, after its branches were added too: member lists stand in the order of rows."""
        row = len(self.feature)
        self.feature.append(split.column)
        self.mode.append(AT_MOST if split.members is None else MEMBER)
        self.threshold.append(split.threshold)
        self.missing_left.append(int(split.missing_left))
        if split.members is not None:
            self.members += [*map(float, split.members), np.nan]
        for ends in (self.left, self.left_is_leaf, self.right, self.right_is_leaf):
            ends.append(0)
        self.left[row], self.left_is_leaf[row] = self._branch(split.left)
        self.right[row], self.right_is_leaf[row] = self._branch(split.right)
        return row

    def _branch(self, branch: Split | float) -> tuple[int, int]:
        if isinstance(branch, Split):
            return self.add(branch), 0
        self.leaf.append(branch)
        return len(self.leaf) - 1, 1


def _matrix(places: tuple[Place, ...], *, widths: dict[str, int]):  # type: ignore[no-untyped-def]
    """(graph inputs, nodes) of `tree_matrix`: the columns of every packed input, the request's own at each row."""
    inputs, nodes, parts = [helper.make_tensor_value_info("request", TensorProto.INT32, [None])], [], []
    for packed, some in groupby(places, key=lambda place: place.packed):
        columns = np.array([place.column for place in some], np.int64)
        kind = TensorProto.INT32 if packed.endswith("_codes") else TensorProto.FLOAT
        inputs.append(helper.make_tensor_value_info(packed, kind, [None, widths[packed]]))
        chosen, part = f"tree_{packed}", f"tree_{packed}_rows"
        indices = helper.make_node("Constant", [], [f"{chosen}_columns"], value=numpy_helper.from_array(columns))
        nodes += [indices, helper.make_node("Gather", [packed, f"{chosen}_columns"], [f"{chosen}_chosen"], axis=1)]
        nodes.append(helper.make_node("Cast", [f"{chosen}_chosen"], [chosen], to=TensorProto.DOUBLE))
        if packed.startswith("user"):
            nodes.append(helper.make_node("Gather", [chosen, "request"], [part], axis=0))
        parts.append(part if packed.startswith("user") else chosen)
    return inputs, [*nodes, helper.make_node("Concat", parts, ["tree_matrix"], axis=1)]


def _doubles(values: list[float]) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.float64))
