"""LightGBM on the same packed inputs: the ranker that every report compares the network with.

Every head on the rows of its condition: ctr on all, cvr on clicked rows alone (so with selection bias: the reference
that ESMM mends). An amount by least squares on its log, then Duan's smearing E[v] = exp(prediction) *
mean(exp(residual)) (Duan 1983; on the training rows, so that overfitted trees come out a few percent low until
calibrated). Lists and identifiers are left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import lightgbm
import numpy as np

from features.spec import FeatureSpec, Group, Kind, ModelInputs
from marketplace.heads import Head, HeadKind, composed, heads_of, learned_heads, products
from value_model.rankers.config import TreesConfig
from value_model.rankers.ranker import RankingData

Columns = Mapping[str, list[int]]


class Trees:
    """One booster a learned head, and others beside them; follows `Ranker`. `smearing`: a factor an amount."""

    def __init__(
        self,
        boosters: Mapping[str, lightgbm.Booster],
        *,
        heads: tuple[str, ...],
        columns: Columns,
        smearing: Mapping[str, float],
        config: TreesConfig,
    ) -> None:
        self.boosters, self.columns, self.smearing, self.config = dict(boosters), columns, dict(smearing), config
        self._heads = heads

    @property
    def heads(self) -> tuple[str, ...]:
        return self._heads

    @classmethod
    def fit(cls, data: RankingData, *, spec: FeatureSpec, config: TreesConfig) -> Trees:
        """Boosters of every head that the labels allow."""
        columns = kept_categories(data.inputs, config)
        table = matrix(data.inputs, columns, data.position if config.position else None)
        names = column_names(spec, columns, config)
        heads, boosters, smearing = learned_heads(data.labels), {}, {}
        for head in heads:
            if head.kind is HeadKind.MONEY:
                boosters[head.name], smearing[head.name] = _fit_amount(table, data, head, names, config)
            else:
                boosters[head.name] = _fit_event(table, data, head, names, config)
        if config.products:
            events = [head for head in products(boosters) if head.kind is HeadKind.PROBABILITY]
            boosters |= {head.name: _fit_event(table, data, head, names, config) for head in events}
        if config.lambdarank:
            boosters["lambdarank"] = _boost_ranking(table, data, heads, names, config)
        learned = tuple(head.name for head in heads)
        return cls(boosters, heads=learned, columns=columns, smearing=smearing, config=config)

    def predict(self, inputs: ModelInputs, *, position: np.ndarray | None = None) -> Mapping[str, np.ndarray]:
        """float64 [N] a head, learned and composed; trees fitted without positions ignore `position`."""
        scores = {name: self.score(inputs, name, position=position) for name in self.heads}
        amounts = {name: np.exp(scores[name]) * factor for name, factor in self.smearing.items()}
        return composed(scores | amounts)

    def score(self, inputs: ModelInputs, booster: str, *, position: np.ndarray | None = None) -> np.ndarray:
        """One booster's output, float64 [N]: also products and "lambdarank" where these were fitted."""
        place = np.zeros(len(inputs.request)) if position is None else position
        table = matrix(inputs, self.columns, place if self.config.position else None)
        return np.asarray(self.boosters[booster].predict(table, num_threads=self.config.threads), np.float64)

    def save(self, folder: Path) -> None:
        """Write trees.json and one text file a booster."""
        folder.mkdir(parents=True, exist_ok=True)
        definition = {"columns": dict(self.columns), "smearing": self.smearing, "config": asdict(self.config)}
        definition |= {"heads": self.heads, "boosters": list(self.boosters)}
        (folder / "trees.json").write_text(json.dumps(definition, indent=1))
        for name, booster in self.boosters.items():
            booster.save_model(str(folder / f"{name}.txt"))

    @classmethod
    def load(cls, folder: Path) -> Trees:
        """The trees that `save` wrote."""
        row = json.loads((folder / "trees.json").read_text())
        boosters = {name: lightgbm.Booster(model_file=str(folder / f"{name}.txt")) for name in row["boosters"]}
        config = TreesConfig(**row["config"])
        heads = tuple(head.name for head in heads_of(row["heads"]))
        return cls(boosters, heads=heads, columns=row["columns"], smearing=row["smearing"], config=config)


def kept_categories(inputs: ModelInputs, config: TreesConfig) -> Columns:
    """The category columns with few values, by group."""
    groups = {"user": inputs.user_codes, "item": inputs.item_codes, "cross": inputs.cross_codes}
    return {
        group: [c for c in range(codes.shape[1]) if codes[:, c].max(initial=0) < config.categories]
        for group, codes in groups.items()
    }


def matrix(inputs: ModelInputs, columns: Columns, position: np.ndarray | None) -> np.ndarray:
    """float32 [N, F]: user, item and cross numbers, the kept categories, and the position."""
    request = inputs.request
    parts = [inputs.user_numbers[request], inputs.item_numbers, inputs.cross_numbers]
    parts += [inputs.user_codes[:, columns["user"]][request], inputs.item_codes[:, columns["item"]]]
    parts.append(inputs.cross_codes[:, columns["cross"]])
    if position is not None:
        parts.append(position[:, None])
    return np.concatenate([part.astype(np.float32, copy=False) for part in parts], axis=1)


def column_names(spec: FeatureSpec, columns: Columns, config: TreesConfig) -> dict[str, bool]:
    """The matrix's column names in order, and whether each is a category."""
    names = {f.name: False for group in Group for f in spec.select(group, Kind.NUMBER)}
    for group in Group:
        categories = spec.select(group, Kind.CATEGORY)
        names |= {categories[c].name: True for c in columns[group.value]}
    return names | ({"position": False} if config.position else {})


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
    objective: str,
) -> lightgbm.Booster:
    if not rows.any():
        raise ValueError("no rows to fit a head on: the training period has no clicks or no orders.")
    settings = _settings(config, objective)
    return lightgbm.train(settings, _data(table[rows], label[rows], weight[rows], names), config.trees)


def _boost_ranking(
    table: np.ndarray, data: RankingData, heads: tuple[Head, ...], names: Mapping[str, bool], config: TreesConfig
) -> lightgbm.Booster:
    grade = sum(np.nan_to_num(data.labels[head.label]) for head in heads if head.kind is HeadKind.PROBABILITY)
    lengths = np.bincount(data.inputs.request)
    return lightgbm.train(
        _settings(config, "lambdarank"), _data(table, grade, data.weight, names, lengths[lengths > 0]), config.trees
    )


def _fit_event(
    table: np.ndarray, data: RankingData, head: Head, names: Mapping[str, bool], config: TreesConfig
) -> lightgbm.Booster:
    """The booster of a probability, among the rows of its condition."""
    return _boost(table, data.labels[head.label], data.weight, head.rows(data.labels), names, config, "binary")


def _fit_amount(
    table: np.ndarray, data: RankingData, head: Head, names: Mapping[str, bool], config: TreesConfig
) -> tuple[lightgbm.Booster, float]:
    """The booster of a log amount, and its smearing factor."""
    rows = head.training_rows(data.labels)
    log_amount = np.log(np.where(rows, data.labels[head.label], 1))
    booster = _boost(table, log_amount, data.weight, rows, names, config, "regression")
    residual = log_amount[rows] - booster.predict(table[rows], num_threads=config.threads)
    return booster, float(np.average(np.exp(residual), weights=data.weight[rows]))
