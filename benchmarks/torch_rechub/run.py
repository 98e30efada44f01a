"""torch-rechub's MMoE, PLE and ESMM, in an environment of their own: run.py FOLDER.

FOLDER has train.npz, later.npz and test.npz, of N rows: a category int [N] or a list int [N, L] under its feature's
name, a number's quantile bin int [N] under "bin NAME", numbers float [N, M] and the labels click and order [N]; and
settings.json, whose model, features and shape are those of benchmarks.multi_task_peers. answer.json gets the AUCs
[seed][click, order].
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch_rechub.basic.features import DenseFeature, SequenceFeature, SparseFeature
from torch_rechub.models.multi_task import ESMM, MMOE, PLE
from torch_rechub.trainers import MTLTrainer

LABELS = ("click", "order")


class Rows:
    """Batches of (columns, labels), in an order drawn anew each pass where `shuffled`."""

    def __init__(self, columns, labels, *, size, shuffled=False):
        self.columns, self.labels, self.size, self.shuffled = columns, labels, size, shuffled

    def __iter__(self):
        n = len(self.labels)
        order = torch.randperm(n) if self.shuffled else torch.arange(n)
        for rows in order.split(self.size):
            yield {name: column[rows] for name, column in self.columns.items()}, self.labels[rows]


def features(settings):
    """(Categories and lists, of which those of one table share it; numbers' bins; numbers.)"""
    width, first, named = settings["width"], {}, []
    for name, kind, table, size in settings["features"]:
        shared = first.get(table)
        first.setdefault(table, name)
        if kind == "list":
            named.append(SequenceFeature(name, size, width, shared_with=shared, padding_idx=0))
        else:
            named.append(SparseFeature(name, size, width, shared_with=shared, padding_idx=0))
    bins = [SparseFeature(name, settings["bins"] + 1, width) for name in settings["numbers"]]
    return named, bins, [DenseFeature("numbers", embed_dim=len(bins))]


def model_of(name, settings):
    named, bins, numbers = features(settings)
    experts, dropout = settings["experts"], settings["dropout"]
    expert = {"dims": settings["expert_units"], "dropout": dropout}
    tower = {"dims": [settings["tower_units"]], "dropout": dropout}
    if name == "ESMM":  # categories alone; each task's bottom is as wide as the experts together
        alone = {"dims": [experts * units for units in settings["expert_units"]] + tower["dims"], "dropout": dropout}
        return ESMM(named, bins, alone, alone)
    every, tasks = [*named, *bins, *numbers], ["classification"] * 2
    if name == "MMoE":
        return MMOE(every, tasks, experts, expert, [tower, tower])
    return PLE(every, tasks, settings["levels"], settings["task_experts"], experts, expert, [tower, tower])


def aucs(name, parts, settings, *, seed):
    torch.manual_seed(seed)
    tasks = 3 if name == "ESMM" else 2  # its first is cvr, which is judged by the product
    loaders = []
    for part in ("train", "later"):
        columns, labels = parts[part]
        wide = torch.stack([labels["order"], labels["click"], labels["order"]][-tasks:], dim=1)
        learned = part == "train"
        loaders.append(Rows(columns, wide, size=settings["batch"] if learned else len(wide), shuffled=learned))
    trainer = MTLTrainer(
        model_of(name, settings),
        ["classification"] * tasks,
        optimizer_params=settings["optimizer"],
        n_epoch=settings["epochs"],
        earlystop_taskid=tasks - 1,
        earlystop_patience=settings["patience"],
        model_path=".",
    )
    trainer.fit(*loaders)
    model, (columns, labels) = trainer.model, parts["test"]
    model.load_state_dict(trainer.early_stopper.best_weights)
    model.eval()
    with torch.no_grad():
        predicted = model(columns)[:, -2:].numpy()
    return [roc_auc_score(labels[label], predicted[:, place]) for place, label in enumerate(LABELS)]


def read(path):
    with np.load(path) as arrays:
        columns = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    return columns, {label: columns.pop(label) for label in LABELS}


def main(folder):
    torch.set_num_threads(1)
    settings = json.loads((folder / "settings.json").read_text())
    parts = {part: read(folder / f"{part}.npz") for part in ("train", "later", "test")}
    answer = [aucs(settings["model"], parts, settings, seed=seed) for seed in range(settings["seeds"])]
    (folder / "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
