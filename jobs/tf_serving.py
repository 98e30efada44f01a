"""Hand the bundle in force of a run to TF-Serving: a version of each model in its folder, and which one is served."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

from marketplace.memory_log import MemoryLog
from retrieval.two_tower import TwoTower
from serving.bundle import ModelBundle, build_engine, load_bundle
from serving.candidate_features import NO_ROWS
from serving.manifest import BundleError
from serving.raw_inputs import raw_call, retrieve_call
from serving.request import Request
from serving.tf_serving_folder import write_folder

REQUESTS = "requests"  # the bodies of calls to try the models with
CANDIDATES, SHOPPERS = 3, 20


def tf_serving(run: Path, folder: Path, *, every: float | None = None) -> None:
    """Write the models of the bundle that `run` serves, and again `every` so many seconds where that is another one.

    `every` None = once; otherwise until a signal.
    """
    written = None
    while True:
        if (run / "bundle").resolve() != written:
            written = write_models(run, folder)
        if every is None:
            return
        time.sleep(every)


def write_models(run: Path, folder: Path) -> Path:
    """Write the models of the bundle that `run` serves, and a call of each; their version is the bundle's number.

    Returns the bundle's folder.
    """
    bundle = load_bundle(run / "bundle")
    if not bundle.folder.name.isdigit():
        raise BundleError(
            f"{run / 'bundle'} is {bundle.folder}, which has no number; models have versions. Move it to "
            f"{run / 'bundles' / '1'}, and let {run / 'bundle'} be a link to it."
        )
    trained = run / "retrieval" / "two_tower.npz"
    towers = TwoTower.load_towers(trained.parent) if trained.exists() else None
    written = write_folder(bundle, towers, folder, version=int(bundle.folder.name))
    (folder / REQUESTS).mkdir(exist_ok=True)
    for signature, call in example_calls(bundle).items():
        rows = (json.dumps({name: values.tolist()}, ensure_ascii=False)[1:-1] for name, values in call.items())
        body = f'{{"signature_name": "{signature}", "inputs": {{\n  ' + ",\n  ".join(rows) + "\n}}\n"
        path = folder / REQUESTS / f"{signature}.json"
        path.write_text(body, encoding="utf-8")
        written.append(path)
    for path in written:
        print(f"   {path}", flush=True)
    return bundle.folder


def example_calls(bundle: ModelBundle) -> dict[str, dict[str, np.ndarray]]:
    """Calls by signature: home at the end of the data, few candidates, one of the first shoppers who have a history."""
    engine, users = build_engine(bundle, log=MemoryLog()), bundle.catalogue.users["user_id"].slice(0, SHOPPERS)
    on_sale = bundle.catalogue.items.filter(bundle.catalogue.items["in_stock"])["item_id"].slice(0, CANDIDATES)
    requests = [
        Request("example", engine.parts.known_until, "home", user, candidates=tuple(on_sale.to_pylist()))
        for user in (*users.to_pylist(), "a new shopper")
    ]
    known = (request for request in requests if len(engine.store.lookup(request, NO_ROWS).touched()))
    raw = raw_call(engine.rank(next(known, requests[0])).slate, bundle.encoder.spec, bundle.policy)
    return {"raw_value": raw, "retrieve": retrieve_call(raw, bundle.encoder.spec)}
