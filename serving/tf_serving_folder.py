"""TF-Serving folder: every model's versions, and the files that a model server is started with (docs/tf-serving.md).

FOLDER/value_model/N             the ranker of bundle N, with its formula: rank
FOLDER/value_model_retrieval/N   the source `nearest` of bundle N, where it has one: retrieve
FOLDER/models.config             which models are served, and how many versions of each
FOLDER/batching_parameters.txt   threads that calls are batched on
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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
KEPT = 2  # versions of a model that are loaded: the newest, and the one before it while services change over
CONFIG = """  config {{
    name: "{name}"
    base_path: "{base}/{name}"
    model_platform: "tensorflow"
    model_version_policy {{ latest {{ num_versions: {kept} }} }}
  }}
"""
BATCH_THREADS = """num_batch_threads { value: 2 }
"""


def write_folder(bundle: ModelBundle, towers: TwoTower | None, folder: Path, *, version: int) -> list[Path]:
    """Write both models of a bundle as `version`, and the files around them; what was written.

    `towers` None = no source is `nearest`. Raises BundleError for a version that is there, and where the towers are not
    those of the bundle.
    """
    written = []
    if (bundle.folder / "ranker").exists():
        with _version(folder, MODEL, version) as place:
            _write_ranker(bundle, place)
        written.append(folder / MODEL / str(version))
    if towers is not None:
        with _version(folder, RETRIEVAL_MODEL, version) as place:
            _write_retrieval(bundle, towers, place)
        written.append(folder / RETRIEVAL_MODEL / str(version))
    models = "".join(CONFIG.format(name=place.parent.name, base=MOUNTED, kept=KEPT) for place in written)
    (folder / "models.config").write_text(f"model_config_list {{\n{models}}}\n")
    (folder / "batching_parameters.txt").write_text(BATCH_THREADS)
    return written


@contextmanager
def _version(folder: Path, model: str, version: int) -> Iterator[Path]:
    """Where to write a version: a model server, which looks for new ones, sees it whole or not at all."""
    place = folder / model / str(version)
    if place.exists():
        raise BundleError(f"{place} exists already, and a version is never written over. Give another folder.")
    with written_whole(place) as draft:
        yield draft


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
