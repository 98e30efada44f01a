"""TF-Serving folder: every model's versions, and the files that a model server is started with (docs/tf-serving.md).

FOLDER/value_model/N             the ranker of bundle N, with its formula: rank
FOLDER/value_model_retrieval/N   the source `nearest` of bundle N, where it has one: retrieve
FOLDER/models.config             which version of each model is served: that of the bundle in force
FOLDER/batching_parameters.txt   threads that calls are batched on
"""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np

from retrieval.build import load_index
from retrieval.two_tower import TwoTower
from serving.bundle import AGAIN, ModelBundle
from serving.export_retrieval import export_retrieval
from serving.export_savedmodel import export_savedmodel
from serving.manifest import BundleError, agree, written_whole
from serving.parity import probe_inputs, refuse_difference
from serving.query_tower import OnnxQueryTower
from serving.tf_serving_scorer import MODEL
from value_model.rankers.calibration import Calibration
from value_model.rankers.graphs import Graphs, load_ranker

RETRIEVAL_MODEL = f"{MODEL}_retrieval"
MOUNTED = "/models"  # where the model server finds FOLDER
BUNDLE = Path("assets.extra", "bundle.txt")  # in a version: the bundle that it was made of
CONFIG = """  config {{
    name: "{name}"
    base_path: "{base}/{name}"
    model_platform: "tensorflow"
    model_version_policy {{ specific {{ versions: {version} }} }}
  }}
"""
BATCH_THREADS = """num_batch_threads { value: 2 }
"""


def write_folder(bundle: ModelBundle, towers: TwoTower | None, folder: Path, *, version: int) -> list[Path]:
    """Write both models of a bundle as `version` where they are not there yet, and the files around them.

    `towers` None = no source is `nearest`. Returns the places of the versions. Raises BundleError where `version` is
    another bundle's, and where the towers are not those of the bundle.
    """
    writers = {}
    if (bundle.folder / "ranker").exists():
        writers[MODEL] = partial(_write_ranker, bundle)
    if towers is not None:
        writers[RETRIEVAL_MODEL] = partial(_write_retrieval, bundle, towers)
    places = [folder / model / str(version) for model in writers]
    for place, write in zip(places, writers.values(), strict=True):
        if not _holds(place, bundle):
            with written_whole(place) as draft:  # a model server, which looks for new ones, sees it whole or not at all
                write(draft)
                (draft / BUNDLE).write_text(f"{bundle.version}\n")
    models = "".join(CONFIG.format(name=name, base=MOUNTED, version=version) for name in writers)
    _replace(folder / "batching_parameters.txt", BATCH_THREADS)
    _replace(folder / "models.config", f"model_config_list {{\n{models}}}\n")
    return places


def _holds(place: Path, bundle: ModelBundle) -> bool:
    """Whether a version was made of `bundle` before; raises BundleError where it was made of another."""
    if not place.exists():
        return False
    if not (place / BUNDLE).exists() or (place / BUNDLE).read_text().strip() != bundle.version:
        raise BundleError(
            f"{place} exists already, of another bundle, and a version is never written over. Give another folder."
        )
    return True


def _replace(path: Path, text: str) -> None:
    """Write a file in one step: a model server may read it at any moment."""
    draft = path.with_name(f".{path.name}")
    draft.write_text(text)
    os.replace(draft, path)


def _write_ranker(bundle: ModelBundle, place: Path) -> None:
    """The bundle's SavedModel; made again where a policy was published since, since it has the formula inside."""
    policy = bundle.policy
    if bundle.manifest.facts.get("savedmodel_policy", policy.version) == policy.version:
        shutil.copytree(bundle.savedmodel, place, dirs_exist_ok=True)
        return
    calibration = Calibration.load(bundle.folder / "calibrators.json")
    graphs = Graphs(load_ranker(bundle.folder / "ranker" / "trained"), calibration)
    export_savedmodel(bundle.encoder, graphs, policy, folder=place)


def _write_retrieval(bundle: ModelBundle, towers: TwoTower, place: Path) -> None:
    index, item_ids = load_index(bundle.folder / "index")
    probe = probe_inputs(bundle.encoder, rows=1, rng=np.random.default_rng(0))
    agree(bundle.encoder.spec.version, towers.spec.version, what="feature spec of the towers", fix=AGAIN)
    here = towers.embed_queries(probe.user_codes, probe.user_lists, probe.user_numbers)
    served = OnnxQueryTower(bundle.folder / "retriever" / "query_tower.onnx").embed(probe)[None]
    refuse_difference({"embedding": served}, {"embedding": here}, twins="the bundle's query tower and the run's")
    shown = bundle.catalogue.items["in_stock"].to_numpy()
    names = np.array(item_ids, object)[shown]
    embeddings = np.asarray(index.embeddings[shown], np.float32)
    export_retrieval(
        bundle.encoder, towers, names, embeddings, k=bundle.config.candidates, model=RETRIEVAL_MODEL, folder=place
    )
