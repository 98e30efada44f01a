"""Trained parts become a bundle: written beside its place, checked by loading it, then renamed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from features.encoder import Encoder
from features.spec import ModelInputs
from features.store import MemoryStore
from marketplace.codec import write_parquet
from marketplace.dataset import Dataset
from marketplace.memory_log import MemoryLog
from marketplace.schema import ITEMS, MERCHANTS, USERS
from retrieval.blend import Blends
from retrieval.build import BuiltIndex, save_index
from retrieval.candidates import CandidateSource
from retrieval.pairs import ItemInputs, item_inputs
from retrieval.saved_sources import save_retriever
from retrieval.surfaces import SurfaceRecipes
from retrieval.surfaces import to_toml as recipes_to_toml
from retrieval.two_tower import TwoTower
from serving.bundle import AGAIN, FIRST_PHASE, ITEM_PARTS, build_engine, load_bundle
from serving.config import DEFAULTS, ServingConfig
from serving.distillation import distilled
from serving.export_onnx import export_onnx, write_graph
from serving.export_savedmodel import export_savedmodel
from serving.item_tower import OnnxItemTower
from serving.live_catalogue import ItemTower
from serving.manifest import Manifest, agree, content_hash, seal, written_whole
from serving.onnx_scorer import OnnxScorer
from serving.parity import probe_inputs, refuse_difference, worst_difference
from serving.tensorflow_scorer import TensorFlowScorer
from serving.trial_requests import try_out
from value_model.formula import ValuePolicy, to_toml
from value_model.rankers.calibration import Calibration
from value_model.rankers.graphs import Graphs, ServedRanker

COMPARED_ITEMS = 4_096  # of the catalogue, from its first row to its last


@dataclass(frozen=True, eq=False)
class TrainedParts:
    """Everything that was learned, ready to be served.

    `dataset` gives catalogue, merchants, users and currency; `store` knows everything before `known_until`, and the
    catalogue what was recorded of it before `catalogue_until` (None = the same).
    `ranker` None = the data teach no head. `rows`: real inputs that its exports are compared on, None = drawn ones.
    `towers`, `index` None = no source is `nearest`. `run_facts`: which ranker is served, why, and the settings that
    are not the defaults. `metrics` is JSON: what evaluation said.
    """

    dataset: Dataset
    store: MemoryStore
    known_until: datetime
    encoder: Encoder
    ranker: ServedRanker | None
    calibration: Calibration
    policy: ValuePolicy
    sources: Sequence[CandidateSource]
    recipes: SurfaceRecipes
    rows: ModelInputs | None = None
    blends: Blends = field(default_factory=dict)
    towers: TwoTower | None = None
    index: BuiltIndex | None = None
    config: ServingConfig = DEFAULTS
    run_facts: Mapping[str, str | float] = field(default_factory=dict)
    run_file: str = ""  # the settings of the run that trained all this, TOML
    metrics: Mapping[str, Any] = field(default_factory=dict)
    catalogue_until: datetime | None = None


def export_bundle(trained: TrainedParts, folder: Path) -> Manifest:
    """Write the bundle of `trained` as the new folder `folder`.

    Raises ExportRefused where SavedModel, ONNX graphs and networks differ (`serving.parity`), and BundleError where
    parts do not belong together or `folder` exists; then nothing is left behind.
    """
    with written_whole(Path(folder)) as draft:
        _write_data(trained, draft)
        _write_retrieval(trained, draft)
        trained.calibration.save(draft / "calibrators.json")
        facts = _facts(trained)
        if trained.ranker is not None:
            facts |= _write_ranker(trained, trained.ranker, draft)
        manifest = seal(draft, versions=_versions(trained, draft), facts=facts)
        engine = build_engine(load_bundle(draft), log=MemoryLog())
        if trained.config.ranked and trained.ranker is not None:
            distilled(engine, trained.dataset.slates).save(draft / FIRST_PHASE)
            manifest = seal(draft, versions=_versions(trained, draft), facts=facts, known=manifest.files)
            engine = build_engine(load_bundle(draft), log=MemoryLog())
        try_out(engine, users=trained.dataset.users["user_id"].slice(0, 2).to_pylist())
    return manifest


def _write_data(trained: TrainedParts, draft: Path) -> None:
    tables = {"items": ITEMS, "merchants": MERCHANTS, "users": USERS}
    (draft / "catalogue").mkdir()
    for name, schema in tables.items():
        write_parquet(getattr(trained.dataset, name), draft / "catalogue" / f"{name}.parquet", schema)
    trained.store.save(draft / "store.npz")
    texts = {
        "encoder.json": trained.encoder.to_json(),
        "feature_spec.json": trained.encoder.spec.to_json() + "\n",
        "policy.toml": to_toml(trained.policy),
        "surfaces.toml": recipes_to_toml(trained.recipes),
        "settings.json": trained.config.to_json(),
        "run.toml": trained.run_file,
        "metrics.json": json.dumps(dict(trained.metrics), indent=1) + "\n",
    }
    for name, text in texts.items():
        (draft / name).write_text(text, encoding="utf-8")


def _write_retrieval(trained: TrainedParts, draft: Path) -> None:
    save_retriever(trained.sources, blends=trained.blends, folder=draft / "retriever")
    if trained.dataset.has_text:
        trained.store.catalogue.lexical_index.save(draft / "lexical")
    if trained.index is not None:
        save_index(trained.index, draft / "index", item_ids=trained.dataset.items["item_id"].to_pylist())
    if trained.towers is not None:
        agree(trained.encoder.spec.version, trained.towers.spec.version, what="feature spec of the towers", fix=AGAIN)
        write_graph(trained.towers.query_function(), path=draft / "retriever" / "query_tower.onnx")
        write_graph(trained.towers.item_function(), path=draft / "retriever" / "item_tower.onnx")
        refuse_other_item_tower(trained, trained.towers, OnnxItemTower(draft / "retriever" / "item_tower.onnx"))


def refuse_other_item_tower(trained: TrainedParts, towers: TwoTower, exported: ItemTower) -> None:
    """Raises ExportRefused where an item of the catalogue is embedded elsewhere by the export than by the towers."""
    items = item_inputs(trained.store.catalogue, trained.encoder)
    some = np.linspace(0, len(items.codes) - 1, min(len(items.codes), COMPARED_ITEMS)).astype(np.int64)
    part = ItemInputs(items.codes[some], items.lists[some], items.numbers[some])
    expected, served = towers.embed_items(part), exported.embed(part.codes, part.lists, part.numbers)
    refuse_difference({"embedding": expected}, {"embedding": served}, twins="item tower and its ONNX graph")


def _write_ranker(trained: TrainedParts, ranker: ServedRanker, draft: Path) -> dict[str, float]:
    """Ranker, ONNX graphs and SavedModel; how far the last two are from the first, on real rows and at extremes."""
    folder = draft / "ranker"
    graphs = Graphs(ranker, trained.calibration)
    agree(trained.encoder.spec.version, ranker.spec.version, what="feature spec of the ranker", fix=AGAIN)
    ranker.save(folder / "trained")
    network = export_onnx(trained.encoder, graphs, folder=folder, rows=trained.rows)
    export_savedmodel(trained.encoder, graphs, trained.policy, folder=folder / "savedmodel" / "1")
    extremes = probe_inputs(trained.encoder, rows=64, rng=np.random.default_rng(1))
    twins = TensorFlowScorer(folder / "savedmodel" / "1"), (scorer := OnnxScorer(folder))
    items = item_inputs(trained.store.catalogue, trained.encoder)
    if len(items) <= trained.config.cached_items:
        scorer.save_parts(draft / ITEM_PARTS, items.codes, items.lists, items.numbers)
    saved, served = (twin.score(extremes if trained.rows is None else trained.rows) for twin in twins)
    export = refuse_difference(saved, served, twins="SavedModel and ONNX graphs")
    saved, served = (twin.score(extremes) for twin in twins)
    return {"twins_differ": max(network, export), "twins_differ_at_extremes": worst_difference(saved, served)[1]}


def _versions(trained: TrainedParts, draft: Path) -> dict[str, str]:
    return {
        "retriever": content_hash(draft / "retriever"),
        "index": content_hash(draft / "index", draft / "lexical"),
        "ranker": content_hash(*filter(Path.exists, (draft / "ranker" / "trained", draft / FIRST_PHASE))),
        "calibrator": content_hash(draft / "calibrators.json"),
        "policy": trained.policy.version,
        "feature_spec": trained.encoder.spec.version,
        "surfaces": trained.recipes.version,
    }


def _facts(trained: TrainedParts) -> dict[str, str | int | float]:
    spec = trained.encoder.spec if trained.ranker is None else trained.ranker.spec
    return {
        "data": trained.dataset.name,
        "currency": trained.dataset.currency,
        "items": len(trained.dataset.items),
        "known_until": trained.known_until.isoformat(),
        "catalogue_until": (trained.catalogue_until or trained.known_until).isoformat(),
        "ranker_feature_spec": spec.version,
        **({} if trained.index is None else {"index": str(trained.index.report)}),
        **trained.run_facts,
    }
