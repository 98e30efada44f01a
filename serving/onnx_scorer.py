"""The served scorer: ONNX Runtime on the ranker's two graphs, without TensorFlow in the process.

item.onnx    item inputs -> item part [N, H], once an item; a ranker of trees alone has none
forests/     tables of trees -> their scores [N, forests], in NumPy; a ranker without trees has none
heads.onnx   user inputs, item part, scores, cross inputs -> calibrated heads [N] of one request
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from features.spec import FeatureSpec, ModelInputs
from serving.forest_files import load_forests
from serving.item_parts import CAPACITY, ItemParts, padded
from serving.manifest import agree
from serving.scorer import CROSS_INPUTS, ITEM_INPUTS, USER_INPUTS, input_widths
from value_model.rankers.forest import TREE_SCORES

logger = logging.getLogger(__name__)

PARTS = "item_part"
PER_ROW = (*ITEM_INPUTS, *CROSS_INPUTS, TREE_SCORES, "request")


def session(path: Path, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """A graph ready to run; one thread, since a worker owns one core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class OnnxScorer:
    """Follows `Scorer`; `folder` holds the two graphs and the forests."""

    def __init__(self, folder: Path, *, capacity: int = CAPACITY) -> None:
        self._heads = session(folder / "heads.onnx")
        self._heads_take = _inputs_of(self._heads)
        self._names = [output.name for output in self._heads.get_outputs()]
        self._forests = load_forests(folder / "forests") if TREE_SCORES in self._heads_take else ()
        self._item = session(folder / "item.onnx") if PARTS in self._heads_take else None
        self.parts = None if self._item is None else _item_parts(self._item, capacity)

    @property
    def heads(self) -> tuple[str, ...]:
        return tuple(self._names)

    def score(self, inputs: ModelInputs, *, items: np.ndarray | None = None) -> Mapping[str, np.ndarray]:
        """float64 [N] a head; a row's predictions are the same bits whichever rows it is scored with."""
        requests = len(inputs.user_numbers)
        if requests == 1:
            return self._one(inputs, items=items)
        rows_of = [np.flatnonzero(inputs.request == number) for number in range(requests)]
        scores = [
            self._one(of_request(inputs, number, rows), items=None if items is None else items[rows])
            for number, rows in enumerate(rows_of)
        ]
        back = np.argsort(np.concatenate(rows_of), kind="stable")
        return {name: np.concatenate([heads[name] for heads in scores])[back] for name in self._names}

    def save_parts(self, folder: Path, *inputs: np.ndarray) -> None:
        """Write the parts of a whole catalogue, and the `inputs` (ITEM_INPUTS, in their order) that they are of."""
        if self.parts is None:
            return
        folder.mkdir()
        arrays = dict(zip((PARTS, *ITEM_INPUTS), (self.parts.all_of(*inputs), *inputs), strict=True))
        for name, values in arrays.items():
            np.save(folder / f"{name}.npy", values, allow_pickle=False)

    def load_parts(self, folder: Path) -> None:
        """Keep what `save_parts` wrote, if it did: mapped, so that the processes of a machine share its pages."""
        if self.parts is None or not folder.exists():
            return
        parts, *inputs = (
            np.asarray(np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False))
            for name in (PARTS, *ITEM_INPUTS)
        )
        if not self.parts.keep(parts, *inputs):
            logger.info("%s: parts of items are computed as requests come: this machine rounds otherwise", folder)

    def check(self, spec: FeatureSpec) -> None:
        """Raise BundleError where a graph takes inputs of another width than `spec` gives."""
        widths = input_widths(spec)
        for graph in (self._item, self._heads):
            for tensor in () if graph is None else graph.get_inputs():
                if tensor.name in widths:
                    what = f"columns of the ranker's input {tensor.name}"
                    agree(widths[tensor.name], tensor.shape[1], what=what, fix="Export the whole bundle again.")

    def _one(self, inputs: ModelInputs, *, items: np.ndarray | None) -> dict[str, np.ndarray]:
        feed = {name: getattr(inputs, name) for name in self._heads_take if name not in (PARTS, TREE_SCORES)}
        if self._forests:
            feed[TREE_SCORES] = np.stack([forest.score(vars(inputs)) for forest in self._forests], axis=1)
        feed |= {name: padded(feed[name]) for name in PER_ROW if name in feed}
        if self.parts is not None:
            feed[PARTS] = self.parts.of(inputs.item_codes, inputs.item_lists, inputs.item_numbers, items=items)
        scores = self._heads.run(self._names, feed)
        n = len(inputs.request)
        return {name: values[:n].astype(np.float64) for name, values in zip(self._names, scores, strict=True)}


def _item_parts(graph: onnxruntime.InferenceSession, capacity: int) -> ItemParts:
    takes = _inputs_of(graph)

    def compute(codes: np.ndarray, lists: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        feed = dict(zip(ITEM_INPUTS, (codes, lists, numbers), strict=True))
        return graph.run(None, {name: feed[name] for name in takes})[0]

    return ItemParts(compute, part_width=graph.get_outputs()[0].shape[1], capacity=capacity)


def of_request(inputs: ModelInputs, number: int, rows: np.ndarray) -> ModelInputs:
    """One request of several, with its `rows`."""
    user = {name: getattr(inputs, name)[number : number + 1] for name in USER_INPUTS}
    columns = {name: getattr(inputs, name)[rows] for name in (*ITEM_INPUTS, *CROSS_INPUTS)}
    return ModelInputs(**user, **columns, request=np.zeros(len(rows), np.int32))


def _inputs_of(graph: onnxruntime.InferenceSession) -> frozenset[str]:
    return frozenset(tensor.name for tensor in graph.get_inputs())
