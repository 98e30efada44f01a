"""LightGBM on the same packed inputs: the ranker that every report compares the network with.

ctr on all rows; cvr on clicked rows alone (its condition, so with selection bias: the reference that ESMM mends);
ctcvr on all rows in purchase-only data; order_value by least squares on its log among ordered rows, then Duan's
smearing E[v] = exp(prediction) * mean(exp(residual)) (Duan 1983; on the training rows, so that overfitted trees come
out a few percent low until calibrated). Lists and identifiers are left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import lightgbm
import numpy as np

from features.spec import FeatureSpec, Group, Kind, ModelInputs
from value_model.rankers.config import TreesConfig
from value_model.rankers.ranker import CLICK_HEADS, PURCHASE_HEADS, RankingData, composed

Columns = Mapping[str, list[int]]


class Trees:
    """One booster a head; follows `Ranker`."""

    def __init__(
        self, boosters: Mapping[str, lightgbm.Booster], *, columns: Columns, smearing: float, config: TreesConfig
    ) -> None:
        self.boosters, self.columns, self.smearing, self.config = dict(boosters), columns, smearing, config

    @property
    def heads(self) -> tuple[str, ...]:
        return CLICK_HEADS if "ctr" in self.boosters else PURCHASE_HEADS

    @classmethod
    def fit(cls, data: RankingData, *, spec: FeatureSpec, config: TreesConfig) -> Trees:
        """Boosters of every head that the labels allow."""
        columns = kept_categories(data.inputs, config)
        table = matrix(data.inputs, columns, data.position if config.position else None)
        names = column_names(spec, columns, config)
        boosters = {
            head: _boost(table, label, weight, rows, names, config)
            for head, (label, weight, rows) in _targets(data, config).items()
        }
        if config.lambdarank:
            boosters["lambdarank"] = _boost_ranking(table, data, names, config)
        boosters["order_value"], smearing = _fit_value(table, data, names, config)
        return cls(boosters, columns=columns, smearing=smearing, config=config)

    def predict(self, inputs: ModelInputs, *, position: np.ndarray | None = None) -> Mapping[str, np.ndarray]:
        """float64 [N] a head, ctcvr and gmv; a position given to trees fitted without it changes nothing."""
        heads = {head: self.score(inputs, head, position=position) for head in self.heads}
        return composed(heads | {"order_value": np.exp(heads["order_value"]) * self.smearing})

    def score(self, inputs: ModelInputs, booster: str, *, position: np.ndarray | None = None) -> np.ndarray:
        """One booster's output, float64 [N]: also "order" and "lambdarank" where these were fitted."""
        place = np.zeros(len(inputs.request)) if position is None else position
        table = matrix(inputs, self.columns, place if self.config.position else None)
        return np.asarray(self.boosters[booster].predict(table, num_threads=self.config.threads), np.float64)

    def save(self, folder: Path) -> None:
        """Write trees.json and one text file a booster."""
        folder.mkdir(parents=True, exist_ok=True)
        definition = {"columns": dict(self.columns), "smearing": self.smearing, "config": asdict(self.config)}
        (folder / "trees.json").write_text(json.dumps(definition | {"boosters": list(self.boosters)}, indent=1))
        for name, booster in self.boosters.items():
            booster.save_model(str(folder / f"{name}.txt"))

    @classmethod
    def load(cls, folder: Path) -> Trees:
        """The trees that `save` wrote."""
        row = json.loads((folder / "trees.json").read_text())
        boosters = {name: lightgbm.Booster(model_file=str(folder / f"{name}.txt")) for name in row["boosters"]}
        config = TreesConfig(**row["config"])
        return cls(boosters, columns=row["columns"], smearing=row["smearing"], config=config)


def kept_categories(inputs: ModelInputs, config: TreesConfig) -> Columns:
    """The category columns with few values, by group."""
    groups = {"user": inputs.user_codes, "item": inputs.item_codes}
    return {
        group: [c for c in range(codes.shape[1]) if codes[:, c].max(initial=0) < config.categories]
        for group, codes in groups.items()
    }


def matrix(inputs: ModelInputs, columns: Columns, position: np.ndarray | None) -> np.ndarray:
    """float32 [N, F]: user, item and cross numbers, the kept categories, and the position."""
    request = inputs.request
    parts = [inputs.user_numbers[request], inputs.item_numbers, inputs.cross_numbers]
    parts += [inputs.user_codes[:, columns["user"]][request], inputs.item_codes[:, columns["item"]]]
    if position is not None:
        parts.append(position[:, None])
    return np.concatenate([part.astype(np.float32, copy=False) for part in parts], axis=1)


def column_names(spec: FeatureSpec, columns: Columns, config: TreesConfig) -> dict[str, bool]:
    """The matrix's column names in order, and whether each is a category."""
    names = {f.name: False for group in Group for f in spec.select(group, Kind.NUMBER)}
    for group in (Group.USER, Group.ITEM):
        categories = spec.select(group, Kind.CATEGORY)
        names |= {categories[c].name: True for c in columns[group.value]}
    return names | ({"position": False} if config.position else {})


def _targets(data: RankingData, config: TreesConfig) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Label, weight and rows of each binary booster."""
    every = np.ones(len(data.weight), bool)
    click, order = data.labels.click, data.labels.order
    if click is None:
        return {"ctcvr": (order, data.weight, every)}
    found = {"ctr": (click, data.weight, every), "cvr": (order, data.weight, click > 0)}
    return found | ({"order": (order, data.weight, every)} if config.order else {})


def _settings(config: TreesConfig, objective: str) -> dict[str, object]:
    return {
        "objective": objective,
        "num_leaves": config.leaves,
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": config.min_rows,
        "num_threads": config.threads,
        "deterministic": True,
        "verbose": -1,
    }


def _data(table, label, weight, names, group=None) -> lightgbm.Dataset:  # type: ignore[no-untyped-def]
    categories = [name for name, is_category in names.items() if is_category]
    return lightgbm.Dataset(
        table, label, weight=weight, group=group, feature_name=list(names), categorical_feature=categories
    )


def _boost(
    table: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray,
    rows: np.ndarray,
    names: Mapping[str, bool],
    config: TreesConfig,
    objective: str = "binary",
) -> lightgbm.Booster:
    if not rows.any():
        raise ValueError("no rows to fit a head on: the training period has no clicks or no orders.")
    settings = _settings(config, objective)
    return lightgbm.train(settings, _data(table[rows], label[rows], weight[rows], names), config.trees)


def _boost_ranking(
    table: np.ndarray, data: RankingData, names: Mapping[str, bool], config: TreesConfig
) -> lightgbm.Booster:
    grade = data.labels.order + (0 if data.labels.click is None else data.labels.click)
    lengths = np.bincount(data.inputs.request)
    return lightgbm.train(
        _settings(config, "lambdarank"), _data(table, grade, data.weight, names, lengths[lengths > 0]), config.trees
    )


def _fit_value(
    table: np.ndarray, data: RankingData, names: Mapping[str, bool], config: TreesConfig
) -> tuple[lightgbm.Booster, float]:
    """The booster of log value among ordered rows, and its smearing factor."""
    ordered = data.labels.order_value > 0
    log_value = np.log(np.where(ordered, data.labels.order_value, 1))
    booster = _boost(table, log_value, data.weight, ordered, names, config, "regression")
    residual = log_value[ordered] - booster.predict(table[ordered], num_threads=config.threads)
    return booster, float(np.average(np.exp(residual), weights=data.weight[ordered]))
