"""trivago as served, position unknown, through a run: what the ranker that the run serves knows of clicks and orders.

Command of the run: `value-model run --config benchmarks/trivago/run.toml`. Its settings were chosen on the training and
validation periods; the run chooses the served ranker on its validation period.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.record import Measure, record, skip
from jobs.data import data_root
from jobs.run import STAGES
from jobs.run_file import read_run
from jobs.run_folder import RunFolder
from jobs.run_rankers import choice_of

NAME = "trivago_run"
BARS = {"ctr.ndcg@10": ("click NDCG@10", ">= 0.43"), "ctcvr.ndcg@10": ("order NDCG@10", ">= 0.42")}
BESIDE = {"ctr.auc": "click AUC", "ctcvr.auc": "order AUC", "cvr.auc": "cvr AUC among clicked"}


def measures(run: RunFolder) -> list[Measure]:
    """Of the served ranker against the bars and the best of the run's other rankers, then of each ranker."""
    metrics = json.loads((run.path / "evaluation" / "metrics.json").read_text())
    choice, rows = choice_of(run), []
    for metric, (name, bar) in BARS.items():
        one = metrics[choice.served][metric]
        best = max(metrics[other][metric]["value"] for other in choice.behind)
        rows.append(Measure(f"{name}, served: {choice.served}", one["value"], "", bar, (one["low"], one["high"])))
        rows.append(Measure(f"{name}, served - best of the others", one["value"] - best, "", ">= 0"))
    for metric, name in ({metric: name for metric, (name, _) in BARS.items()} | BESIDE).items():
        for ranker in choice.objective:
            one = metrics[ranker][metric]
            rows.append(Measure(f"{name}, {ranker}", one["value"], "", None, (one["low"], one["high"])))
    objective = {f"objective on validation, {ranker}": one for ranker, one in choice.objective.items()}
    return rows + [Measure(name, one.value, "", None, (one.low, one.high)) for name, one in objective.items()]


def main() -> None:
    if not (data_root() / "trivago").exists():
        skip(NAME, f"{data_root() / 'trivago'} is absent; set VALUE_MODEL_DATA to the folder of the data sets.")
    config = read_run(Path(__file__).parent / "trivago" / "run.toml")
    with TemporaryDirectory() as folder:
        run = RunFolder.create(Path(folder), config)
        for stage in ("data", "retrieval", "ranker", "evaluation"):
            run.stage(stage, lambda stage=stage: STAGES[stage](run))
        record(NAME, measures(run), data="trivago through a run, last 20 % of views", seed=config.seed)


if __name__ == "__main__":
    main()
