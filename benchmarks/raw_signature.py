"""What do raw features cost a SavedModel beside coded ones, and do they say what the service says?

500 candidates of 100 k items, models of realistic size with random weights (`benchmarks.serving_bundle`). Slates of the
service are valued again by signature `value`, from the codes of their features, and by `raw_value` and `examples`, from
the features themselves; each call of one is followed by the others, so that all see the same machine. They run as
TF-Serving runs them, by a session on one thread; what a client sends is made before.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import numpy as np

from benchmarks.one_request import ratio
from benchmarks.record import Measure, record
from features.keras2 import tensorflow as tf
from features.served import served
from marketplace.memory_log import MemoryLog
from marketplace.slate import Slate, slates_to_table
from serving.bundle import ModelBundle, build_engine, load_bundle
from serving.engine import RankingEngine
from serving.export_savedmodel import raw_signature, value_call
from serving.parity import worst_difference
from serving.raw_inputs import quantities, raw_call
from serving.request import Request
from serving.tf_examples import example_call

NAME, SEED = "raw_signature", 1
CANDIDATES, SLATES, REPEATS, WARM = 500, 20, 40, 5
SIGNATURES = ("value", "raw_value", "examples")

Call = Mapping[str, np.ndarray]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "bundle"
        subprocess.run([sys.executable, "-m", "benchmarks.serving_bundle", str(place), str(SEED)], check=True)
        measures = measured(load_bundle(place))
    record(NAME, measures, data="simulated market, 100 k items, untrained models", seed=SEED)


def measured(bundle: ModelBundle) -> list[Measure]:
    engine, rng = build_engine(bundle, log=MemoryLog()), np.random.default_rng(SEED)
    users, items = (bundle.catalogue.users["user_id"].to_pylist(), bundle.catalogue.items["item_id"].to_pylist())
    run = {name: runner(bundle.savedmodel, name) for name in SIGNATURES}
    seconds: dict[str, list[float]] = {name: [] for name in SIGNATURES}
    gaps = []
    for number in range(SLATES):
        request = Request(
            request_id=str(number),
            time=engine.parts.known_until + timedelta(seconds=number),
            surface="home",
            user_id=users[rng.integers(len(users))],
            context={"country": "SA", "device": "app"},
            candidates=tuple(items[row] for row in rng.choice(len(items), CANDIDATES, replace=False)),
            k=CANDIDATES // 2,  # so that all are logged
        )
        slate = engine.rank(request).slate
        calls = calls_of(slate, engine, bundle)
        answers = {name: run[name](calls[name]) for name in SIGNATURES}
        gaps.append(
            worst_difference({**slate.predictions, "value": slate.value}, chosen(answers["raw_value"], slate))[1]
        )
        for repeat in range(REPEATS):
            for name in SIGNATURES:
                start = time.perf_counter()
                run[name](calls[name])
                if repeat >= WARM:
                    seconds[name].append(time.perf_counter() - start)
    columns = {name: np.array(values) for name, values in seconds.items()}
    return [
        Measure("candidates", len(slate), "items"),
        *(Measure(f"{name}, p50", 1e3 * float(np.median(values)), "ms") for name, values in columns.items()),
        ratio(columns["raw_value"], columns["value"], name="raw_value / value", bar="<= 1.1"),
        ratio(columns["examples"], columns["value"], name="examples / value", bar=None),
        Measure("raw_value and the service differ by, of a column's largest", max(gaps), "1", "<= 1e-06"),
    ]


def calls_of(slate: Slate, engine: RankingEngine, bundle: ModelBundle) -> dict[str, Call]:
    """The same slate for each signature."""
    inputs = bundle.encoder.encode(served(slates_to_table([slate]), bundle.encoder.spec))
    columns = {name: engine.parts.valuation.columns(slate)[name] for name in quantities(bundle.policy)}
    raw = raw_call(slate, bundle.encoder.spec, bundle.policy)
    protos = example_call(raw, raw_signature(bundle.encoder.spec, bundle.policy))
    return {"value": value_call(inputs, columns, surface=slate.surface), "raw_value": raw, "examples": protos}


def chosen(answer: Call, slate: Slate) -> dict[str, np.ndarray]:
    """The columns of an answer that the slate has."""
    return {name: answer[name] for name in (*slate.predictions, "value")}


def runner(savedmodel: Path, signature: str) -> Callable[[Call], dict[str, np.ndarray]]:
    """One signature in a session on one thread."""
    threads = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    session = tf.compat.v1.Session(graph=tf.Graph(), config=threads)
    with session.graph.as_default():
        model = tf.compat.v1.saved_model.load(session, ["serve"], str(savedmodel))
    tensors = model.signature_def[signature]
    inputs = {name: info.name for name, info in sorted(tensors.inputs.items())}
    outputs = {name: info.name for name, info in sorted(tensors.outputs.items())}
    call = session.make_callable(list(outputs.values()), feed_list=list(inputs.values()))

    def run(feed: Call) -> dict[str, np.ndarray]:
        return dict(zip(outputs, call(*(feed[name] for name in inputs)), strict=True))

    return run


if __name__ == "__main__":
    main()
