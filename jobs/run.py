"""The stages of a run, in order."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from jobs.admission import Applicant
from jobs.config import RunConfig
from jobs.data import get, learnable
from jobs.earlier_run import earlier_run, refuse_other_data, with_earlier_days
from jobs.fingerprint import changed_files, keep_fingerprint
from jobs.run_folder import RunFolder
from marketplace.check import joined_events, read_lines, with_open_windows
from marketplace.finding import DataError, errors
from marketplace.first_seen import with_first_seen
from marketplace.log_place import is_log

Stage = Callable[[RunFolder], None]


def data(run: RunFolder) -> None:
    """Read or simulate the data set, and keep its tables."""
    earlier, recorded = earlier_run(run.config), get(run.config)
    if earlier and is_log(run.config.data):
        recorded = with_earlier_days(recorded, earlier)
    applicant = Applicant.of(recorded)
    joined = joined_events(applicant.dataset)
    dataset = with_open_windows(applicant.dataset, joined)
    for line in read_lines(dataset, joined):
        print("   " + line)
    findings = list(applicant.admission(joined, run.config))
    if refused := errors(findings):
        raise DataError(refused)
    for warning in findings:
        print(f"   {warning}", flush=True)
    dataset = with_first_seen(learnable(dataset, joined, periods=run.config.periods))
    if earlier:
        refuse_other_data(dataset, earlier)
    shutil.rmtree(run.path / "data", ignore_errors=True)  # its files may be another run's too
    dataset.save(run.part("data"))
    keep_fingerprint(run)


def retrieval(run: RunFolder) -> None:
    """Towers, index, sources."""
    from jobs.train_retrieval import train_retrieval

    train_retrieval(run)


def ranker(run: RunFolder) -> None:
    """Network, trees, their pool, calibrators, and which of them serves."""
    from jobs.train_ranker import train_ranker

    train_ranker(run)


def evaluation(run: RunFolder) -> None:
    """Metrics and report on the test period."""
    from jobs.evaluate import evaluate

    evaluate(run)


def bundle(run: RunFolder) -> None:
    """What the service loads."""
    from jobs.export import export

    export(run)


STAGES: dict[str, Stage] = {
    "data": data,
    "retrieval": retrieval,
    "ranker": ranker,
    "evaluation": evaluation,
    "bundle": bundle,
}


def run_all(config: RunConfig, folder: Path) -> RunFolder:
    """Every stage that is not done yet."""
    earlier_run(config)  # refused before anything is made
    run = RunFolder.create(folder, config)
    changed = changed_files(run) if "data" in run.stages else []
    if changed:
        print(f"== changed since: {', '.join(changed)}; nothing is kept, every stage is done again")
    for name, work in STAGES.items():
        run.stage(name, partial(work, run), again=bool(changed) and name == "data")
    return run


def again(folder: Path, stage: str, work: Stage | None = None) -> None:
    """One stage of an existing run, done by `work`, after those it needs; those after it are to be done again."""
    run = RunFolder.open(folder)
    for name in list(STAGES)[: list(STAGES).index(stage)]:
        run.stage(name, partial(STAGES[name], run))
    run.stage(stage, partial(work or STAGES[stage], run), again=True)
