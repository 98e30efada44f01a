"""Train what predicts: the network, boosted trees of each library and their opinion pool; the best is served.

The network stops early on the validation period. The served ranker is chosen on both halves of it, each with pool
weights and calibrators of the other half; weights and calibrators are then fitted on all of it, as served
(positions unknown). What an event counts in choice and weights is the setting `choice.gains`. With `trees.refit` the
trees of ranker and pool are then grown again of both periods, a stack's not: its network has learned to read them as
they are. The test period is predicted once, by everything, and kept for the evaluation.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from features.grown_tables import grown_tables
from features.spec import FeatureSpec
from jobs.choice import Choice, choose, examination
from jobs.config import DEBIASED, RECORDED
from jobs.earlier_run import earlier_run, encoder_of, not_learned
from jobs.examined_rows import with_examination
from jobs.export import ROWS, save_rows
from jobs.fit_curves import CURVES, FitCurves, Watch
from jobs.prepare import TrainingRows, prepare
from jobs.provenance import LOSSES, keep_losses
from jobs.run_folder import CHECKPOINT, RunFolder, RunFolderError
from jobs.run_rankers import CHOICE, STACK
from jobs.stacked_rows import with_tree_scores
from jobs.streamed_rows import StreamedRows, streamed_rows
from jobs.worker_processes import run_workers
from marketplace.heads import learned_heads
from marketplace.slate_columns import to_numpy
from value_model.rankers.batches import request_offsets, take
from value_model.rankers.calibration import Calibration, fit_calibration
from value_model.rankers.group_offsets import GroupCodes, groups_of
from value_model.rankers.network_ranker import NetworkRanker
from value_model.rankers.opinion_pool import NETWORK, OpinionPool, fit_weights, pooled
from value_model.rankers.ranker import Predictions, Ranker, RankingData
from value_model.rankers.row_files import RowFiles
from value_model.rankers.stack import Stack, scored_spec
from value_model.rankers.training import fit, refused_by_workers
from value_model.rankers.trees import Trees
from value_model.rankers.workers import Workers

SURFACE = "surface"  # the user category
NO_OPINIONS: Mapping[str, Predictions] = {}
WORKER = (sys.executable, "-c", "from jobs.cli import main; main()", "network-worker")
FEW = 20  # requests whose rows are kept for the export


def train_ranker(run: RunFolder, *, watch: Watch | None = None, fitted: Path | None = None, workers: int = 1) -> None:
    """Write ranker/: rankers, choice, calibrators, held-out predictions and rows; nothing where no head is taught.

    `watch` sees the curves of the network's fit. `fitted`: ranker/ of a run whose network is the same, which is taken.
    `workers`: processes of this machine that fit the network to streamed rows.
    """
    folder, earlier = run.part("ranker"), earlier_run(run.config)
    streamed = streamed_rows(run, drawn=run.config.trees.streamed_rows) if earlier is None else None
    if workers > 1:
        refuse_workers(run, streamed)
        run_workers([*WORKER, str(run.path)], workers)
    prepared = prepare(run) if streamed is None else streamed.rows
    if prepared is None:
        shutil.rmtree(folder)
        return
    train, held_out = prepared.part(prepared.period.train), prepared.part(prepared.period.validation)
    test = prepared.part(prepared.period.test)
    save_rows(first_requests(test).inputs, folder / ROWS)
    if fitted is None:
        files = None if streamed is None else streamed.files
        network = fit_network(run, prepared, folder, files=files, watch=watch, earlier=earlier)
    else:
        network = _network_of(fitted, folder)
    trees = _trees(run, prepared, train, earlier)
    members: dict[str, NetworkRanker | Trees] = {NETWORK: network, **trees}
    beside = {STACK: _fit_stack(run, prepared, trees, earlier)} if run.config.ranker.stack else {}
    opinions, alone = (
        {name: one.predict(held_out.inputs) for name, one in rankers.items()} for rankers in (members, beside)
    )
    calibrate = partial(fit_calibration, groups=calibration_groups(run, prepared), config=run.config.calibration)
    rng = np.random.default_rng(run.config.seed)
    surface, shopper = (of_requests(prepared, column) for column in ("surface", "user_id"))
    gains = run.config.choice.gains
    seen = seen_places(opinions, held_out, surface, gains=gains)
    choice = chosen(
        opinions,
        held_out,
        alone=alone,
        calibrate=calibrate,
        examination=seen,
        shopper=shopper,
        rng=rng,
        gains=gains,
    )
    (folder / CHOICE).write_text(json.dumps(choice.to_json(), indent=1) + "\n")
    print(f"   {choice}", flush=True)
    weights = fit_weights(opinions, held_out, examination=seen)
    opinions |= alone | {"pool": pooled(opinions, weights=weights)}
    if run.config.trees.refit:
        members |= _trees(run, prepared, prepared.part(prepared.period.train | prepared.period.validation), None)
    pool = OpinionPool(members, weights=weights)
    pool.save(folder)
    rankers: dict[str, Ranker] = {**members, "pool": pool, **beside}
    for name, ranker in rankers.items():
        calibration = calibrate(opinions[name], held_out)
        calibration.save(folder / f"calibration_{name}.json")
        keep(run, name, calibration(ranker.predict(test.inputs), test.inputs))


def chosen(
    opinions: Mapping[str, Predictions],
    held_out: RankingData,
    *,
    calibrate: Callable[[Predictions, RankingData], Calibration],
    examination: np.ndarray,
    shopper: np.ndarray,
    rng: np.random.Generator,
    gains: str = DEBIASED,
    alone: Mapping[str, Predictions] = NO_OPINIONS,
) -> Choice:
    """The best on held-out requests of network, trees and pool, each half as the other one weighs and calibrates them.

    `opinions`: raw predictions of the network, then of the trees of each library, by name; `alone`: of candidates that
    are not pooled; `examination` [N]; `shopper` [R].
    """
    requests = len(held_out.inputs.user_codes)
    offsets = request_offsets(held_out.inputs.request, requests)
    halves = [take(held_out, part, offsets=offsets) for part in np.array_split(np.arange(requests), 2)]
    rows = slice(0, len(halves[0].position)), slice(len(halves[0].position), None)
    judged = []
    for half, other in ((0, 1), (1, 0)):
        others = {name: of_rows(predicted, rows[other]) for name, predicted in opinions.items()}
        weights = fit_weights(others, halves[other], examination=examination[rows[other]])
        pool = pooled(opinions, weights=weights)
        calibrated = {}
        for name, predicted in {**opinions, "pool": pool, **alone}.items():
            calibration = calibrate(of_rows(predicted, rows[other]), halves[other])
            calibrated[name] = calibration(of_rows(predicted, rows[half]), halves[half].inputs)
        judged.append(calibrated)
    heads = judged[0]["pool"]
    models = {name: {head: np.concatenate([one[name][head] for one in judged]) for head in heads} for name in judged[0]}
    return choose(models, held_out, examination=examination, shopper=shopper, rng=rng, gains=gains)


def seen_places(
    opinions: Mapping[str, Predictions], held_out: RankingData, surface: np.ndarray, *, gains: str
) -> np.ndarray:
    """float64 [N]: P(examined) of each row's place, by the clicks over those that the first opinion expects; 1 where
    gains are as recorded. `surface` [R]."""
    expected = None if gains == RECORDED else next(iter(opinions.values())).get("ctr")
    return examination(held_out, expected, surface)


def calibration_groups(run: RunFolder, prepared: TrainingRows) -> tuple[GroupCodes, ...]:
    """The groups of requests that the run's settings name."""
    features = {"segment": prepared.segment, "surface": SURFACE}
    return groups_of(prepared.encoder, [features[name] for name in run.config.calibration.groups])


def of_rows(predicted: Predictions, rows: slice) -> Predictions:
    """Predictions of some rows."""
    return {head: values[rows] for head, values in predicted.items()}


def of_requests(prepared: TrainingRows, column: str) -> np.ndarray:
    """A column of the slates of the validation period, [R] text."""
    return to_numpy(prepared.slates.filter(pa.array(prepared.period.validation))[column])


def first_requests(data: RankingData) -> RankingData:
    """The rows of the first FEW requests."""
    requests = len(data.inputs.user_codes)
    return take(data, np.arange(min(FEW, requests)), offsets=request_offsets(data.inputs.request, requests))


def fit_network(
    run: RunFolder,
    prepared: TrainingRows,
    folder: Path,
    *,
    spec: FeatureSpec | None = None,
    files: RowFiles | None = None,
    watch: Watch | None = None,
    earlier: RunFolder | None = None,
    workers: Workers | None = None,
) -> NetworkRanker:
    """A network of the features in `spec` (None = the encoder's); its checkpoint and its losses are in `folder`.

    It learns from `files`, where there are some, else from the rows in memory. It goes on from the network at the same
    place of the `earlier` run. `workers`: this process is one of them.
    """
    rng = np.random.default_rng(run.config.seed)
    encoder, heads = prepared.encoder, learned_heads(prepared.data.labels)
    shape, training = run.config.ranker, run.config.training
    network = NetworkRanker(spec or encoder.spec, encoder.sizes, config=shape, heads=heads, rng=rng)
    if earlier is not None:
        before = _network_before(earlier, network, earlier.path / folder.relative_to(run.path))
        network.set_weights(grown_tables(before.weights(), encoder_of(earlier), encoder))
        part = not_learned(prepared.slates, prepared.period, earlier, fit="ranker")
    else:
        part = prepared.period.train
    train, held_out = files or prepared.part(part), prepared.part(prepared.period.validation)
    if shape.examination == "ipw" and isinstance(train, RankingData):
        train, held_out = with_examination(train, held_out, encoder, least=training.least_examination)
    checkpoint, first = folder / CHECKPOINT, workers is None or workers.number == 0
    curves = FitCurves(run.path / CURVES / folder.name, anew=first and not checkpoint.exists(), watch=watch)
    history = fit(
        network,
        train,
        held_out,
        config=training,
        rng=rng,
        checkpoint=checkpoint,
        after_epoch=curves.write if first else None,
        progress=first,
        anew=earlier is None,
        workers=workers,
    )
    if workers is not None:
        return network
    print(f"   {history.experts}", flush=True)
    if history.experts and history.experts.warning():
        print(f"   WARNING: {history.experts.warning()}", flush=True)
    until = prepared.period.validation_from
    keep_losses(folder, history, until=until, network=shape, training=training)
    return network


def refuse_workers(run: RunFolder, streamed: StreamedRows | None) -> StreamedRows:
    """The streamed rows; RunFolderError where several processes cannot fit the network to them."""
    if streamed is None:
        raise RunFolderError(
            f"several workers read their rows from files, and {run.path} has none: write them with "
            f"`value-model spark training-rows {run.path} DAYS`, or leave out --workers."
        )
    if refusal := refused_by_workers(streamed.files, run.config.training):
        raise RunFolderError(f"several workers fit no network {refusal}: leave out --workers.")
    return streamed


def _fit_stack(run: RunFolder, prepared: TrainingRows, trees: Mapping[str, Trees], earlier: RunFolder | None) -> Stack:
    """A network that reads what `trees` say; those of the `earlier` run have not seen the rows it goes on with."""
    folder = run.part("ranker") / STACK
    folder.mkdir(exist_ok=True)
    parts = 0 if _kept_trees(run, earlier) else run.config.ranker.stack
    scored = with_tree_scores(prepared, trees, parts=parts)
    spec = scored_spec(prepared.encoder.spec, learned_heads(prepared.data.labels), tuple(trees))
    print(f"   stack: what {', '.join(trees)} say, of rows that they did not learn from", flush=True)
    stack = Stack(fit_network(run, scored, folder, spec=spec, earlier=earlier), trees)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    stack.save(folder)
    return stack


def _trees(run: RunFolder, prepared: TrainingRows, train: RankingData, earlier: RunFolder | None) -> dict[str, Trees]:
    """By library: grown of the training period, or those of the run that training goes on from."""
    kept, by_library = _kept_trees(run, earlier), run.config.trees.by_library
    print(f"   trees: {', '.join(by_library)}" + (f", of {kept.path}" if kept else ""), flush=True)
    if kept is not None:
        return {name: Trees.load(kept.path / "ranker" / name) for name in by_library}
    spec = prepared.encoder.spec
    return {name: Trees.fit(train, spec=spec, config=config) for name, config in by_library.items()}


def _kept_trees(run: RunFolder, earlier: RunFolder | None) -> RunFolder | None:
    """The earlier run whose trees are kept; none are that may have learned from what is now the validation period."""
    return None if run.config.trees.anew or run.config.trees.refit else earlier


def _network_before(earlier: RunFolder, network: NetworkRanker, folder: Path) -> NetworkRanker:
    """The earlier run's network, in `folder`; RunFolderError where the data now teach other heads."""
    if earlier.heads != network.heads:
        before, now = (", ".join(heads) or "no head" for heads in (earlier.heads, network.heads))
        raise RunFolderError(f"{earlier.path} learned {before}; the data now teach {now}. Train anew.")
    return NetworkRanker.load(folder / "network")


def _network_of(fitted: Path, folder: Path) -> NetworkRanker:
    """The network of another run, and how its fit went."""
    shutil.copy2(fitted / LOSSES, folder)
    print(f"   network: of {fitted.parent}", flush=True)
    return NetworkRanker.load(fitted / "network")


def keep(run: RunFolder, name: str, predictions: Mapping[str, np.ndarray]) -> None:
    """Held-out predictions, for the evaluation."""
    np.savez(run.part("ranker") / f"held_out_{name}.npz", allow_pickle=False, **predictions)


def held_out(run: RunFolder, name: str) -> dict[str, np.ndarray]:
    """What `keep` kept."""
    with np.load(run.part("ranker") / f"held_out_{name}.npz", allow_pickle=False) as predictions:
        return dict(predictions)
