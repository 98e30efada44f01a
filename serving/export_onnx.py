"""The ranker as three ONNX graphs, converted from the functions that the SavedModel is made of.

Embedding rows are looked up by code, so that no string lookup is converted. An export whose ONNX twin says something
else than the network is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tf2onnx

from features.keras2 import tensorflow as tf
from serving.graphs import (
    TOLERANCE,
    Calibrate,
    ExportRefused,
    NetworkRanker,
    heads_of_inputs,
    heads_of_parts,
    part_specs,
    probe_inputs,
    specs,
)
from serving.onnx_scorer import OnnxScorer
from serving.scorer import INPUTS, ITEM_INPUTS, USER_INPUTS

OPSET = 18
PROBE_ROWS = 256


def export_onnx(ranker: NetworkRanker, calibrate: Calibrate, *, folder: Path) -> float:
    """Write user.onnx, item.onnx and heads.onnx; the greatest difference found, as `difference` measures it.

    Raises ExportRefused when that is more than 1e-5.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network, spec = ranker.network, ranker.spec
    user = lambda *inputs: {"user_part": network.user_part(*inputs)}  # noqa: E731
    item = lambda *inputs: {"item_part": network.item_part(*inputs)}  # noqa: E731
    write_graph(user, specs(spec, USER_INPUTS), path=folder / "user.onnx")
    write_graph(item, specs(spec, ITEM_INPUTS), path=folder / "item.onnx")
    write_graph(heads_of_parts(ranker, calibrate), part_specs(ranker), path=folder / "heads.onnx")
    return checked(ranker, calibrate, folder=folder)


def checked(ranker: NetworkRanker, calibrate: Calibrate, *, folder: Path) -> float:
    """The greatest difference between the graphs in `folder` and the network; raises ExportRefused above 1e-5."""
    probe = probe_inputs(ranker, rows=PROBE_ROWS, rng=np.random.default_rng(0))
    expected = heads_of_inputs(ranker, calibrate)(
        {name: tf.constant(getattr(probe, name)) for name in (*INPUTS, "request")}
    )
    found = OnnxScorer(folder, capacity=1).score(probe)
    return refuse_difference({name: expected[name].numpy() for name in found}, found, twins="network and ONNX graphs")


def refuse_difference(
    expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], *, twins: str, tolerance: float = TOLERANCE
) -> float:
    """The greatest difference of any head; raises ExportRefused when it is above `tolerance` or not a number."""
    gaps = {name: difference(expected[name], found[name]) for name in expected}
    worst = max(gaps, key=lambda name: gaps[name] if np.isfinite(gaps[name]) else np.inf)
    if not gaps[worst] <= tolerance:
        raise ExportRefused(
            f"export refused: {twins} differ in {worst!r} by {gaps[worst]:.2g}, allowed is {tolerance:g}. The layer "
            "that differs uses an operation that converts inexactly: run tests/serving/test_export.py to find it."
        )
    return gaps[worst]


def difference(expected: np.ndarray, found: np.ndarray) -> float:
    """max |found - expected| / max(1, |expected|): absolute for probabilities, relative for money; NaN if any is."""
    gap = np.abs(found.astype(np.float64) - expected) / np.maximum(1.0, np.abs(expected))
    return float(gap.max(initial=0.0))


def write_graph(function: Callable[..., Any], signature: list[tf.TensorSpec], *, path: Path) -> None:
    """Convert `function` of named tensors, which returns a dict of named tensors, into one ONNX file."""
    write_traced(tf.function(function, input_signature=signature), path=path)


def write_traced(function: Any, *, path: Path) -> None:
    """The same for a tf.function that has its input signature."""
    model, _ = tf2onnx.convert.from_function(
        function, input_signature=function.input_signature, opset=OPSET, custom_op_handlers={"Log1p": (_log1p, [])}
    )
    path.write_bytes(model.SerializeToString())


def _log1p(context: Any, node: Any, name: str, args: list[Any]) -> None:
    """log1p(x) as log(1 + x), which ONNX has; the float32 difference is at most 6e-8."""
    one = context.make_const(f"{node.name}_one", np.array(1, np.float32))
    outputs, given = node.output, node.input[0]
    context.remove_node(node.name)
    sum_ = context.make_node("Add", [given, one.output[0]])
    context.make_node("Log", [sum_.output[0]], name=node.name, outputs=outputs)
