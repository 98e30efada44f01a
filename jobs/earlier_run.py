"""The earlier run that training goes on from: what has to be the same in both, and what it has not learned yet.

Statistics and histories are of all days, as ever. The encoder is the earlier one, grown; towers and network go on from
their weights; the trees are kept. What is made quickly is made anew: index, blends, pool, calibrators, choice.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.encoder import Encoder
from jobs.config import RunConfig
from jobs.data import kept
from jobs.provenance import LOSSES, TRAINED_UNTIL
from jobs.run_folder import RunFolder, RunFolderError
from marketplace.dataset import Dataset
from marketplace.keys import one_array
from marketplace.settings import changes
from marketplace.splits import SECOND, Periods, microseconds

FITS = ("retrieval", "ranker")
OF_TOWERS = ("dimensions", "table_width", "number_bins", "hidden")
SHAPE = ("ranker.", "retrieval.sequence", *(f"retrieval.{name}" for name in OF_TOWERS), "trees.", "features")
FREE = ("ranker.dropout", "trees.anew", "trees.threads")  # of these what may differ all the same


def earlier_run(config: RunConfig) -> RunFolder | None:
    """The run that `config.start` names; RunFolderError where it is not trained, or its models have another shape."""
    if not config.start:
        return None
    run = RunFolder.open(Path(config.start))
    if missing := [stage for stage in FITS if stage not in run.stages]:
        raise RunFolderError(f"{run.path} is not trained ({', '.join(missing)}): finish it, or name another run.")
    other = [
        f"{name} {before!r} (now {now!r})"
        for name, before, now in changes(run.config, config)
        if name.startswith(SHAPE) and name not in FREE
    ]
    if other:
        raise RunFolderError(f"{run.path} has models of another shape: {', '.join(other)}. Keep it, or train anew.")
    return run


def refuse_other_data(dataset: Dataset, earlier: RunFolder) -> None:
    """RunFolderError where amounts are in another currency, or the days that the earlier run has are left out."""
    before = kept(earlier.path)
    if dataset.currency != before.currency:
        raise RunFolderError(f"amounts are in {dataset.currency}, those of {earlier.path} in {before.currency}.")
    ours, theirs = first_moment(dataset), first_moment(before)
    if ours > theirs:
        raise RunFolderError(
            f"the data begin on {day(ours)}, those of {earlier.path} on {day(theirs)}. Give everything that was "
            "recorded: statistics and histories are of all days, and only what is new is learned."
        )


def with_earlier_days(logged: Dataset, earlier: RunFolder) -> Dataset:
    """A service's log behind the days that the earlier run has: each request and event once, as the log has it.

    Catalogue and features are the log's, what else suits the data is as the earlier run has it.
    """
    before = kept(earlier.path)
    slates = _behind(before.slates, logged.slates, key="request_id")
    feedback = _behind(before.feedback, logged.feedback, key="feedback_id")
    notes = tuple(dict.fromkeys((*before.notes, *logged.notes)))
    return replace(
        before,
        items=logged.items,
        merchants=logged.merchants,
        slates=slates,
        feedback=feedback,
        notes=notes,
        context_features=logged.context_features,
        mapped_features=logged.mapped_features,
        closed=False,
    )


def _behind(before: pa.Table, after: pa.Table, *, key: str) -> pa.Table:
    """Both by time; of a name that stands in both, the row of `after`."""
    known = pc.is_in(before[key].cast(pa.string()), value_set=one_array(after[key].cast(pa.string())))
    both = pa.concat_tables([before.filter(pc.invert(known)), after]).unify_dictionaries()
    return both.take(pa.array(np.argsort(microseconds(both["time"]), kind="stable")))


def first_moment(dataset: Dataset) -> int:
    """UTC microseconds of the first thing recorded."""
    times = [microseconds(table["time"]).min() for table in (dataset.slates, dataset.feedback) if len(table)]
    return int(min(times, default=np.iinfo(np.int64).max))


def grown_encoder(encoder: Encoder, earlier: RunFolder) -> Encoder:
    """The earlier run's encoder with the further names of `encoder`."""
    try:
        return encoder_of(earlier).grown(encoder)
    except ValueError as error:
        raise RunFolderError(f"{earlier.path} learned {error} Train anew.") from error


def encoder_of(run: RunFolder) -> Encoder:
    return Encoder.from_json((run.path / "retrieval" / "encoder.json").read_text())


def not_learned(slates: pa.Table, period: Periods, earlier: RunFolder, *, fit: str) -> np.ndarray:
    """bool [R]: the training period's requests since the end of what a fit of the earlier run learned from.

    Raises RunFolderError where there are none.
    """
    until = trained_until(earlier, fit)
    new = period.train & (microseconds(slates["time"]) >= until)
    if not new.any():
        raise RunFolderError(
            f"nothing is new: {earlier.path} learned until {day(until)}, and the training period ends on "
            f"{day(period.validation_from)}. Give it further days, or shorter [periods]."
        )
    print(f"   {fit} goes on from {earlier.path}: {int(new.sum()):,} new requests since {day(until)}", flush=True)
    return new


def trained_until(run: RunFolder, fit: str) -> int:
    """UTC microseconds: the end of what a fit of the run learned from; RunFolderError where it does not say."""
    path = run.path / fit / LOSSES
    until = json.loads(path.read_text()).get(TRAINED_UNTIL) if path.exists() else None
    if until is None:
        reason = "its data taught nothing, or it was made by an earlier version"
        raise RunFolderError(f"{run.path} does not say until when its {fit} learned: {reason}. Train anew.")
    return int(until)


def day(time: int) -> str:
    return f"{datetime.fromtimestamp(time / SECOND, UTC):%Y-%m-%d %H:%M} UTC"
