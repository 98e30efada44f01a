"""A training run's state after an epoch, stored without pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Run(Protocol):
    """What is stored beside the losses: a ranker's weights, and the seed, variables and optimizer of its fitting."""

    ranker: Any
    optimizer: Any
    spread: Any
    balance: Any
    imputed: Any
    seed: int

    def watched(self, losses: Mapping[str, float]) -> float: ...


@dataclass(frozen=True)
class Checkpoint:
    """`epoch` is the next one to run; `best_weights` belong to epoch `best`; `worse` epochs were not the best."""

    epoch: int
    best: int
    best_weights: dict[str, np.ndarray]
    worse: int = 0
    train: list[dict[str, float]] = field(default_factory=list)
    held_out: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def start(cls, run: Run) -> Checkpoint:
        return cls(epoch=0, best=-1, best_weights=run.ranker.weights())

    def after(self, epoch: int, train: dict[str, float], held_out: dict[str, float], run: Run) -> Checkpoint:
        """The state with epoch `epoch` done: kept as the best when its watched held-out loss is the lowest."""
        better = self.best < 0 or run.watched(held_out) < run.watched(self.held_out[self.best])
        return replace(
            self,
            epoch=epoch + 1,
            best=epoch if better else self.best,
            best_weights=run.ranker.weights() if better else self.best_weights,
            worse=self.worse + (not better),
            train=[*self.train, train],
            held_out=[*self.held_out, held_out],
        )


def store(path: Path, state: Checkpoint, run: Run) -> None:
    """Write `path` (npz) whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    summary = {
        "epoch": state.epoch,
        "best": state.best,
        "worse": state.worse,
        "train": state.train,
        "held_out": state.held_out,
    }
    arrays = {f"w {name}": value for name, value in run.ranker.weights().items()}
    arrays |= {f"b {name}": value for name, value in state.best_weights.items()}
    arrays |= {f"o {i:03d}": variable.numpy() for i, variable in enumerate(moving(run))}
    arrays["summary"] = np.array(json.dumps(summary | {"seed": run.seed}))
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, allow_pickle=False, **arrays)
    os.replace(temporary, path)


def restore(path: Path, run: Run) -> Checkpoint:
    """Give `run` the stored weights, moments and seed; ValueError when they belong to another model."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    summary = json.loads(str(arrays.pop("summary")))
    run.seed = summary.pop("seed")
    run.ranker.set_weights({name[2:]: value for name, value in arrays.items() if name.startswith("w ")})
    for i, variable in enumerate(moving(run)):
        variable.assign(arrays[f"o {i:03d}"])
    best = {name[2:]: value for name, value in arrays.items() if name.startswith("b ")}
    return Checkpoint(best_weights=best, **summary)


def moving(run: Run) -> list[Any]:
    """The optimizer's variables and the loss weights, in a stable order."""
    balance = () if run.balance is None else run.balance.variables
    imputed = [variable for rate in run.imputed.values() for variable in rate.variables]
    return [run.spread, *balance, *imputed, run.optimizer.step, *run.optimizer.first, *run.optimizer.second]
