"""What hidden ids do to cohorts: networks of a run's rows that differ in `training.id_dropout` alone.

python -m benchmarks.cohorts RUN        a finished run; without it one of the simulated market is made

Each share is fitted SEEDS times to the training period, stops early on the validation period and is judged by the
test period: AUC of clicks and of orders among new and known shoppers, items and merchants, the mean of its fits. Its
difference from none is paired by request, its interval over shoppers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.demo_run import demo_run
from benchmarks.record import Measure, record
from evaluation import bootstrap
from evaluation.bootstrap import Resampled
from evaluation.heads import row_metrics
from jobs.cohorts import newcomers, with_known
from jobs.prepare import TrainingRows, prepare
from jobs.run_folder import RunFolder
from jobs.train_ranker import fit_network
from marketplace.slate_columns import to_numpy

NAME = "cohorts"
SHARES = (0.0, 0.1, 0.3)  # of ids hidden
SEEDS = (7, 8)
HEADS = {"ctr": "click", "ctcvr": "order"}


def main() -> None:
    with demo_run() as run:
        measures = list(measured(run))
    record(NAME, measures, data=f"simulated market ({run.config.size}), test period", seed=run.config.seed)


def measured(run: RunFolder) -> Iterator[Measure]:
    prepared = prepare(run)
    assert prepared is not None
    of_test = prepared.rows(prepared.period.test)
    new = newcomers(prepared.slates, prepared.period.train)
    cohorts = {"all": np.ones(of_test.sum(), bool)} | with_known({name: rows[of_test] for name, rows in new.items()})
    areas = {share: mean_areas(run, prepared, cohorts, share) for share in SHARES}
    for (cohort, head), none in areas[SHARES[0]].items():
        rows = f"{HEADS[head]} AUC of {cohort} ({cohorts[cohort].sum():,} rows)"
        yield of(f"{rows}, none hidden", none)
        for share in SHARES[1:]:
            yield of(f"{rows}, {share:.0%} hidden - none", areas[share][cohort, head] - none)


def of(name: str, area: Resampled) -> Measure:
    shown = area.estimate()
    return Measure(name, shown.value, "AUC", None, (shown.low, shown.high))


def mean_areas(
    run: RunFolder, prepared: TrainingRows, cohorts: dict[str, np.ndarray], share: float
) -> dict[tuple[str, str], Resampled]:
    """AUC by cohort and head, the mean of fits from SEEDS."""
    test = prepared.part(prepared.period.test)
    offsets = prepared.offsets_of(prepared.period.test)
    shopper = to_numpy(prepared.slates.filter(pa.array(prepared.period.test))["user_id"])
    samples = bootstrap.resample(len(offsets) - 1, np.random.default_rng(0), shopper=shopper)
    fits: dict[tuple[str, str], list[Resampled]] = {}
    for seed in SEEDS:
        training = replace(run.config.training, id_dropout=share)
        with tempfile.TemporaryDirectory() as place:
            other = RunFolder(Path(place), replace(run.config, seed=seed, training=training))
            predicted = fit_network(other, prepared, other.part("ranker")).predict(test.inputs)
        for cohort, rows in cohorts.items():
            for head, event in HEADS.items():
                label = test.labels[event]
                where = rows & (test.weight > 0) & ~np.isnan(label)
                area = row_metrics(predicted[head], label, offsets, samples=samples, where=where)["auc"]
                fits.setdefault((cohort, head), []).append(area)
    return {
        name: Resampled(
            float(np.mean([one.value for one in several])),
            np.mean([one.draws for one in several], axis=0),
            several[0].n,
        )
        for name, several in fits.items()
    }


if __name__ == "__main__":
    main()
