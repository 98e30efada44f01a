"""The rankers of a run: which one was chosen to serve, and it with its calibrators."""

from __future__ import annotations

import json

from jobs.choice import Choice
from jobs.run_folder import RunFolder
from value_model.rankers.calibration import Calibration
from value_model.rankers.graphs import ServedRanker
from value_model.rankers.network_ranker import NetworkRanker
from value_model.rankers.opinion_pool import NETWORK, OpinionPool
from value_model.rankers.stack import Stack
from value_model.rankers.trees import Trees

CHOICE = "choice.json"
STACK = "stack"  # the candidate's name, and its folder


def choice_of(run: RunFolder) -> Choice:
    """What was chosen, and why."""
    return Choice.from_json(json.loads((run.path / "ranker" / CHOICE).read_text()))


def served_ranker(run: RunFolder) -> tuple[ServedRanker, Calibration]:
    """The chosen ranker and its calibrators."""
    folder, name = run.path / "ranker", choice_of(run).served
    calibration = Calibration.load(folder / f"calibration_{name}.json")
    if name == "pool":
        return OpinionPool.load(folder), calibration
    if name == STACK:
        return Stack.load(folder / name), calibration
    return (NetworkRanker if name == NETWORK else Trees).load(folder / name), calibration
