"""Boosted trees on the same packed inputs: a ranker of its own, and the trees of the opinion pool.

Every head on the rows of its condition: ctr on all, cvr on clicked rows alone (so with selection bias: the reference
that ESMM mends). An amount by least squares on its log, then Duan's smearing E[v] = exp(prediction) *
mean(exp(residual)) (Duan 1983; on the training rows, so that overfitted trees come out a few percent low until
calibrated), or as Tweedie's mean, whose factor is 1. With `objective = lambdarank` the heads of every item shown order
lists: their scores are read as log odds, which calibration has to make probabilities. Lists and identifiers are left
out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from scipy.special import expit

from features.spec import FeatureSpec, Group, Kind, ModelInputs
from marketplace.heads import Head, HeadKind, composed, head_of, heads_of, learned_heads, products
from value_model.rankers.boosters import Booster, Examples, Objective, TreeLibrary
from value_model.rankers.config import TreesConfig
from value_model.rankers.forest import Forest, Place, with_stand_ins
from value_model.rankers.lightgbm import LightGbm
from value_model.rankers.ranker import RankingData
from value_model.rankers.xgboost import XgBoost

Columns = Mapping[str, list[int]]
LIBRARIES: dict[str, TreeLibrary] = {"lightgbm": LightGbm(), "xgboost": XgBoost()}
MEDIAN_ROWS = 200_000  # about as many, evenly spread, tell a median
TWEEDIE, LAMBDARANK = "tweedie", "lambdarank"


class Trees:
    """One booster a learned head, and others beside them; follows `Ranker`. `smearing`: a factor an amount.

    `medians`: by column of the matrix, of each number that was known in every row of training. No split has learned
    what it means that such a one is missing, as of a new item or of what a request did not send, and libraries take it
    for 0 or for whatever lies on one side: here the median stands in.
    """

    def __init__(
        self,
        boosters: Mapping[str, Booster],
        *,
        spec: FeatureSpec,
        heads: tuple[str, ...],
        columns: Columns,
        smearing: Mapping[str, float],
        config: TreesConfig,
        medians: Mapping[int, float] | None = None,
    ) -> None:
        self.boosters, self.columns, self.smearing, self.config = dict(boosters), columns, dict(smearing), config
        self.spec, self._heads, self.medians = spec, heads, dict(medians or {})

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
            boosters["lambdarank"] = _fit_ranking(table, data, heads, names, config)
        learned = tuple(head.name for head in heads)
        medians = _medians(table[:, : sum(len(spec.select(group, Kind.NUMBER)) for group in Group)])
        return cls(
            boosters, spec=spec, heads=learned, columns=columns, smearing=smearing, config=config, medians=medians
        )

    def predict(self, inputs: ModelInputs, *, position: np.ndarray | None = None) -> Mapping[str, np.ndarray]:
        """float64 [N] a head, learned and composed; trees fitted without positions ignore `position`."""
        scores = {name: self.score(inputs, name, position=position) for name in self.heads}
        ranked = {name: expit(scores[name]) for name in self.heads if _orders(head_of(name), self.config)}
        log_amounts = {} if self.config.amounts == TWEEDIE else self.smearing
        amounts = {name: np.exp(scores[name]) * factor for name, factor in log_amounts.items()}
        return composed(scores | ranked | amounts)

    def score(self, inputs: ModelInputs, booster: str, *, position: np.ndarray | None = None) -> np.ndarray:
        """One booster's output, float64 [N]: also products and "lambdarank" where these were fitted."""
        place = np.zeros(len(inputs.request)) if position is None else position
        table = matrix(inputs, self.columns, place if self.config.position else None)
        for column, median in self.medians.items():
            np.copyto(table[:, column], np.float32(median), where=np.isnan(table[:, column]))
        return self.boosters[booster].predict(table)

    def forest(self, head: str) -> Forest:
        """The trees of a learned head: of an event its log odds, of an amount its log before smearing."""
        return tuple(with_stand_ins(tree, self.medians) for tree in self.boosters[head].forest())

    @property
    def places(self) -> tuple[Place, ...]:
        """Where each column of the matrix comes from; raises ValueError for trees that take the shown position."""
        if self.config.position:
            raise ValueError("trees that take the shown position cannot be served; fit them with position=False.")
        numbers = [Place(f"{g}_numbers", c) for g in Group for c in range(len(self.spec.select(g, Kind.NUMBER)))]
        return (*numbers, *(Place(f"{g}_codes", c) for g in Group for c in self.columns[g.value]))

    def save(self, folder: Path) -> None:
        """Write trees.json and one text file a booster."""
        folder.mkdir(parents=True, exist_ok=True)
        definition = {"columns": dict(self.columns), "smearing": self.smearing, "config": asdict(self.config)}
        definition |= {"heads": self.heads, "boosters": list(self.boosters), "spec": self.spec.to_json()}
        definition["medians"] = self.medians
        (folder / "trees.json").write_text(json.dumps(definition, indent=1))
        for name, booster in self.boosters.items():
            booster.save(folder / f"{name}.txt")

    @classmethod
    def load(cls, folder: Path) -> Trees:
        """The trees that `save` wrote."""
        row = json.loads((folder / "trees.json").read_text())
        config = TreesConfig(**row["config"])
        read = LIBRARIES[config.library].load
        boosters = {name: read(folder / f"{name}.txt", threads=config.threads) for name in row["boosters"]}
        heads = tuple(head.name for head in heads_of(row["heads"]))
        spec = FeatureSpec.from_json(row["spec"])
        medians = {int(column): median for column, median in row.get("medians", {}).items()}
        return cls(
            boosters,
            spec=spec,
            heads=heads,
            columns=row["columns"],
            smearing=row["smearing"],
            config=config,
            medians=medians,
        )


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


def _medians(numbers: np.ndarray) -> dict[int, float]:
    """The float32 median of each column [N, F] that is missing in no row."""
    complete = [column for column in range(numbers.shape[1]) if not np.isnan(numbers[:, column]).any()]
    some = numbers[:: max(1, len(numbers) // MEDIAN_ROWS)]
    return {column: float(np.quantile(some[:, column], 0.5, method="lower")) for column in complete}


def _grow(examples: Examples, head: Head, rows: np.ndarray, *, objective: Objective, config: TreesConfig) -> Booster:
    """A head's booster from some rows (bool [N])."""
    if not rows.any():
        what = head.condition or head.label
        raise ValueError(f"no rows to fit {head.name} on: of {len(rows):,} in the training period none has its {what}.")
    some = replace(examples, table=examples.table[rows], label=examples.label[rows], weight=examples.weight[rows])
    return LIBRARIES[config.library].grow(some, objective=objective, config=config)


def _fit_event(
    table: np.ndarray, data: RankingData, head: Head, names: Mapping[str, bool], config: TreesConfig
) -> Booster:
    """The booster of a probability, among the rows of its condition."""
    if _orders(head, config):
        return _fit_order(table, data, head, names, config)
    examples = Examples(table, data.labels[head.label], data.weight, names)
    return _grow(examples, head, head.rows(data.labels), objective=Objective.EVENT, config=config)


def _fit_amount(
    table: np.ndarray, data: RankingData, head: Head, names: Mapping[str, bool], config: TreesConfig
) -> tuple[Booster, float]:
    """The booster of an amount or of its log, and its smearing factor."""
    rows = head.training_rows(data.labels)
    if config.amounts == TWEEDIE:
        amounts = Examples(table, data.labels[head.label], data.weight, names)
        return _grow(amounts, head, rows, objective=Objective.AMOUNT, config=config), 1.0
    log_amount = np.log(np.where(rows, data.labels[head.label], 1))
    examples = Examples(table, log_amount, data.weight, names)
    booster = _grow(examples, head, rows, objective=Objective.NUMBER, config=config)
    residual = log_amount[rows] - booster.predict(table[rows])
    return booster, float(np.average(np.exp(residual), weights=data.weight[rows]))


def _orders(head: Head, config: TreesConfig) -> bool:
    """Whether the head's trees are grown to order lists."""
    return config.objective == LAMBDARANK and head.condition is None and head.kind is HeadKind.PROBABILITY


def _fit_order(
    table: np.ndarray, data: RankingData, head: Head, names: Mapping[str, bool], config: TreesConfig
) -> Booster:
    """The booster that orders a request's items by an event, from the rows that were shown."""
    rows = np.flatnonzero(head.rows(data.labels) & (data.weight > 0))
    if not len(rows):
        raise ValueError(f"no rows to fit {head.name} on: the training period shows nothing.")
    rows = rows[np.lexsort((data.position[rows], data.inputs.request[rows]))]
    lengths = np.bincount(data.inputs.request[rows])
    examples = Examples(
        table[rows],
        data.labels[head.label][rows],
        data.weight[rows],
        names,
        lengths=lengths[lengths > 0],
        position=data.position[rows] if config.debiased else None,
    )
    return LIBRARIES[config.library].grow(examples, objective=Objective.RANKING, config=config)


def _fit_ranking(
    table: np.ndarray, data: RankingData, heads: tuple[Head, ...], names: Mapping[str, bool], config: TreesConfig
) -> Booster:
    grade = sum(np.nan_to_num(data.labels[head.label]) for head in heads if head.kind is HeadKind.PROBABILITY)
    lengths = np.bincount(data.inputs.request)
    examples = Examples(table, np.asarray(grade), data.weight, names, lengths=lengths[lengths > 0])
    return LIBRARIES[config.library].grow(examples, objective=Objective.RANKING, config=config)
