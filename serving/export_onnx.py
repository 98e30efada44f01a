"""The ranker as two ONNX graphs, converted from the functions that the SavedModel is made of.

    item.onnx    item inputs -> item part [N, H]; not of trees alone
    heads.onnx   user inputs, item part, scores of trees, cross inputs -> calibrated heads [N] of one request
    forests/     tables that trees are scored by, before heads.onnx

Embedding rows are looked up by code, so that no string lookup is converted. An export whose ONNX twin says something
else than the TensorFlow graph is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tf2onnx
from onnx import ModelProto

from features.keras2 import tensorflow as tf
from features.spec import ModelInputs
from serving import first_layer, live_ramps
from serving.forest_files import save_forests
from serving.onnx_scorer import OnnxScorer
from serving.parity import Vocabulary, probe_inputs, refuse_difference
from serving.scorer import INPUTS
from value_model.rankers.graphs import Graphs

OPSET = 18
PROBE_ROWS = 256


def export_onnx(vocabulary: Vocabulary, graphs: Graphs, *, folder: Path, rows: ModelInputs | None = None) -> float:
    """Write item.onnx, heads.onnx, forests/; the greatest difference on `rows`, as `parity.difference` measures it.

    `rows` None = drawn ones. Raises ExportRefused when that is more than `parity.TOLERANCE`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if graphs.item_part is not None:
        write_graph(graphs.item_part, path=folder / "item.onnx")
    if graphs.forests:
        save_forests(graphs.forests, folder / "forests")
    write_graph(graphs.rest, path=folder / "heads.onnx", rewrite=_rewrite)
    return checked(vocabulary, graphs, folder=folder, rows=rows)


def _rewrite(model: ModelProto) -> None:
    first_layer.rewrite(model)
    live_ramps.rewrite(model)


def checked(vocabulary: Vocabulary, graphs: Graphs, *, folder: Path, rows: ModelInputs | None = None) -> float:
    """The greatest difference between the ONNX graphs in `folder` and TensorFlow's; raises ExportRefused."""
    rows = probe_inputs(vocabulary, rows=PROBE_ROWS, rng=np.random.default_rng(0)) if rows is None else rows
    expected = graphs.whole(**{name: tf.constant(getattr(rows, name)) for name in (*INPUTS, "request")})
    scores = OnnxScorer(folder, capacity=1).score(rows)
    return refuse_difference(
        {name: expected[name].numpy() for name in scores}, scores, twins="TensorFlow and ONNX graphs"
    )


def write_graph(function: Any, *, path: Path, rewrite: Callable[[ModelProto], object] | None = None) -> None:
    """Convert a tf.function that has its input signature into one ONNX file; `rewrite` changes the graph in place."""
    model, _ = tf2onnx.convert.from_function(
        function, input_signature=function.input_signature, opset=OPSET, custom_op_handlers=CONVERSIONS
    )
    if rewrite is not None:
        rewrite(model)
    path.write_bytes(model.SerializeToString())


def _log1p(context: Any, node: Any, name: str, args: list[Any]) -> None:
    """log1p(x) as log(1 + x), which ONNX has; the float32 difference is at most 6e-8."""
    one = context.make_const(f"{node.name}_one", np.array(1, np.float32))
    outputs, operand = node.output, node.input[0]
    context.remove_node(node.name)
    sum_ = context.make_node("Add", [operand, one.output[0]])
    context.make_node("Log", [sum_.output[0]], name=node.name, outputs=outputs)


def _where(context: Any, node: Any, name: str, args: list[Any]) -> None:
    """A choice as Where; tf2onnx makes a sum of products with a mask of it, and 0 x infinity is NaN."""
    node.type = "Where"


CONVERSIONS: dict[str, tuple[Any, list[Any]]] = {"Log1p": (_log1p, []), "SelectV2": (_where, [])}
