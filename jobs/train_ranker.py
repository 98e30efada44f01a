"""Train what predicts: the MMoE, its calibrators, and the LightGBM twin that every report compares it with.

The network stops early on the validation period; calibrators are fitted on the same later period, as served
(positions unknown); the test period is predicted once, by everything, and kept for the evaluation.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from jobs.export import ROWS, save_rows
from jobs.prepare import TrainingRows, prepare
from jobs.provenance import keep_losses
from jobs.run_folder import RunFolder
from marketplace.heads import learned_heads
from value_model.rankers.batches import request_offsets, take
from value_model.rankers.calibration import Calibration, fit_calibration
from value_model.rankers.config import NetworkConfig, TrainingConfig, TreesConfig
from value_model.rankers.group_offsets import groups_of
from value_model.rankers.lightgbm import Trees
from value_model.rankers.mmoe import MMoE
from value_model.rankers.ranker import RankingData
from value_model.rankers.training import fit

SURFACE = "surface"  # the user category
FEW = 20  # requests whose rows are kept for the export


def train_ranker(run: RunFolder) -> None:
    """Write ranker/: mmoe, lightgbm, calibrators, held-out predictions and rows; nothing where no head is taught."""
    prepared, folder = prepare(run), run.part("ranker")
    if prepared is None:
        shutil.rmtree(folder)
        return
    train, held_out = prepared.part(prepared.period.train), prepared.part(prepared.period.validation)
    test = prepared.part(prepared.period.test)
    save_rows(first_requests(test).inputs, folder / ROWS)
    mmoe = _fit_mmoe(run, prepared, train, held_out)
    mmoe.save(folder / "mmoe")
    groups = groups_of(prepared.encoder, (prepared.segment, SURFACE))
    calibration = fit_calibration(mmoe.predict(held_out.inputs), held_out, groups=groups)
    calibration.save(folder / "calibration.json")
    keep(run, "mmoe", calibration(mmoe.predict(test.inputs), test.inputs))
    print("   LightGBM twin", flush=True)
    trees, trees_calibration = fit_trees(train, held_out, prepared)
    trees.save(folder / "lightgbm")
    trees_calibration.save(folder / "lightgbm" / "calibration.json")
    keep(run, "lightgbm", trees_calibration(trees.predict(test.inputs), test.inputs))


def first_requests(data: RankingData) -> RankingData:
    """The rows of the first FEW requests."""
    requests = len(data.inputs.user_codes)
    return take(data, np.arange(min(FEW, requests)), offsets=request_offsets(data.inputs.request, requests))


def _fit_mmoe(run: RunFolder, prepared: TrainingRows, train: RankingData, held_out: RankingData) -> MMoE:
    rng = np.random.default_rng(run.config.seed)
    encoder, heads = prepared.encoder, learned_heads(train.labels)
    network = NetworkConfig()
    mmoe = MMoE(encoder.spec, encoder.sizes, config=network, heads=heads, rng=rng)
    training = replace(TrainingConfig(), epochs=run.config.ranker_epochs)
    checkpoint = run.part("ranker") / "checkpoint.npz"
    history = fit(mmoe, train, held_out, config=training, rng=rng, checkpoint=checkpoint)
    keep_losses(run.part("ranker"), history, network=network, training=training)
    checkpoint.unlink()  # it resumes an interrupted fit; one that is done again starts anew
    return mmoe


def fit_trees(train: RankingData, held_out: RankingData, prepared: TrainingRows) -> tuple[Trees, Calibration]:
    """The twin on the same rows and features, calibrated on the same period."""
    trees = Trees.fit(train, spec=prepared.encoder.spec, config=TreesConfig())
    groups = groups_of(prepared.encoder, (prepared.segment, SURFACE))
    return trees, fit_calibration(trees.predict(held_out.inputs), held_out, groups=groups)


def keep(run: RunFolder, name: str, predictions: Mapping[str, np.ndarray]) -> None:
    """Held-out predictions, for the evaluation."""
    np.savez(run.part("ranker") / f"held_out_{name}.npz", allow_pickle=False, **predictions)


def held_out(run: RunFolder, name: str) -> dict[str, np.ndarray]:
    """What `keep` kept."""
    with np.load(run.part("ranker") / f"held_out_{name}.npz", allow_pickle=False) as predictions:
        return dict(predictions)
