"""Live ramps: a graph without the columns of its number encodings that are 0 of every row.

A number with few distinct values fills few of its quantile bins (`features.layers.numbers`); the ramps of the others
begin at infinity, and multiply their rows of the next layer's weights by 0.

As converted:   clip((value - low) / span, 0, 1) x present              [N, F, bins], and a product with all of them
As rewritten:   clip((value of its number - low) / span, 0, 1)          [N, live], value = the least float where missing
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper, shape_inference

ENCODING = ("Mul", "Max", "Min", "Mul", "Sub")  # backwards from the last, as converted
STEPS = (
    ("Where", "missing", "least", "made"),
    ("Clip", "made", "least", "most"),  # finite, since a product follows
    ("Gemm", "made", "choice", "below"),  # a choice of columns, which takes a Gather longer; less where each begins
    ("Mul", "made", "rate"),
    ("Clip", "made", "zero", "one"),
)


class Ramps(NamedTuple):
    """One encoding of F numbers: its last node, names of values [N, F] and missing bool [N, F], low and 1 / span."""

    shaped: NodeProto
    values: str
    missing: str
    low: np.ndarray  # [F, bins]
    rate: np.ndarray  # [F, bins]


def rewrite(model: ModelProto) -> int:
    """Rewrite encodings in place; how many columns were left out: 0 where the graph holds none as converted."""
    graph = _Graph(model)
    left_out = 0
    for ramps in list(graph.ramps()):
        reader = graph.reader(ramps.shaped.output[0])
        if reader is None:
            continue
        product, start = reader
        dead = np.flatnonzero(np.isinf(ramps.low).ravel())
        graph.narrow(product, np.delete(graph.constants[product.input[1]], start + dead, axis=0))
        graph.replace(ramps)
        left_out += len(dead)
    graph.write()
    return left_out


class _Graph:
    """The nodes of a model by what they make and read, and its constants."""

    def __init__(self, model: ModelProto) -> None:
        self._model, self._nodes = model, list(model.graph.node)
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self._maker = {name: node for node in self._nodes for name in node.output}
        inferred = shape_inference.infer_shapes(model).graph
        self._shape = {
            tensor.name: [dim.dim_value for dim in tensor.type.tensor_type.shape.dim]
            for tensor in (*inferred.value_info, *inferred.input)
        }

    def ramps(self) -> Iterator[Ramps]:
        """The encodings that have dead ramps."""
        for shaped in self._nodes:
            chain = self._chain(shaped.input[0], *ENCODING) if shaped.op_type == "Reshape" else ()
            if not chain:
                continue
            present, _, _, scaled, below = chain
            missing = self._chain(self._flat(present.input[1]), "Sub", "Cast", at=1)  # present = 1 - missing
            low, rate = (self.constants.get(node.input[1]) for node in (below, scaled))
            if missing and low is not None and rate is not None and low.ndim == 2 and np.isinf(low).any():
                rate = np.broadcast_to(rate, low.shape)
                yield Ramps(shaped, self._flat(below.input[0]), missing[-1].input[0], low, rate)

    def reader(self, name: str) -> tuple[NodeProto, int] | None:
        """The one product with constant weights that takes a value, by way of Concats, and the row of its weights."""
        start = 0
        while True:
            readers = [node for node in self._nodes if name in node.input]
            if len(readers) != 1:
                return None
            reader = readers[0]
            if reader.op_type in ("MatMul", "Gemm") and reader.input[0] == name:
                return (reader, start) if reader.input[1] in self.constants else None
            if reader.op_type != "Concat":
                return None
            before = list(reader.input)[: list(reader.input).index(name)]
            widths = [self._shape.get(part, [0])[-1] for part in before]
            if not all(widths):
                return None
            name, start = reader.output[0], start + sum(widths)

    def narrow(self, product: NodeProto, weights: np.ndarray) -> None:
        product.input[1] = f"{product.name}/live_weights"
        self.constants[product.input[1]] = weights

    def replace(self, ramps: Ramps) -> None:
        """Make the live ramps in the stead of all."""
        name, live = ramps.shaped.name, np.isfinite(ramps.low)
        owner = np.broadcast_to(np.arange(len(live))[:, None], live.shape)[live]
        most = np.finfo(np.float32).max
        constants = {
            "least": -most,
            "most": most,
            "choice": np.arange(len(live))[:, None] == owner,
            "below": -ramps.low[live],
            "rate": ramps.rate[live],
            "zero": 0,
            "one": 1,
        }
        for part, values in constants.items():
            self.constants[f"{name}/live_{part}"] = np.asarray(values, np.float32)
        nodes, made = [], ramps.values
        for number, (kind, *inputs) in enumerate(STEPS):
            inputs = [{"missing": ramps.missing, "made": made}.get(part, f"{name}/live_{part}") for part in inputs]
            made = ramps.shaped.output[0] if number == len(STEPS) - 1 else f"{name}/live_{number}"
            nodes.append(helper.make_node(kind, inputs, [made], name=f"{name}/live_{number}"))
        place = self._nodes.index(ramps.shaped)
        self._nodes[place : place + 1] = nodes

    def write(self) -> None:
        """The nodes into the model, without those and the constants that nothing reads any more."""
        graph, needed, kept = self._model.graph, {tensor.name for tensor in self._model.graph.output}, []
        for node in reversed(self._nodes):
            if needed & set(node.output):
                kept.append(node)
                needed |= set(node.input)
        del graph.node[:], graph.initializer[:]
        graph.node.extend(reversed(kept))
        tensors = (numpy_helper.from_array(values, name) for name, values in self.constants.items())
        graph.initializer.extend(tensor for tensor in tensors if tensor.name in needed)

    def _chain(self, name: str, *kinds: str, at: int = 0) -> tuple[NodeProto, ...]:
        """The nodes of these kinds from a value backwards, the first by its input `at`; none where one differs."""
        chain: tuple[NodeProto, ...] = ()
        for kind in kinds:
            node = self._maker.get(name)
            if node is None or node.op_type != kind:
                return ()
            chain, name, at = (*chain, node), node.input[at], 0
        return chain

    def _flat(self, name: str) -> str:
        """What was given a last axis of one."""
        while (node := self._maker.get(name)) is not None and node.op_type in ("Slice", "Unsqueeze"):
            name = node.input[0]
        return name
