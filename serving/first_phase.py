"""The first phase: an additive twin of the ranker, quick enough for thousands of candidates.

    log head = offset + sum over numbers of f(x),   f = a line and a ramp for each of BINS quantile bins, and what
                                                    missing adds

x are the numbers of user, item and pair (log1p of those of log scale). Their weights are fitted by least squares with a
small ridge to the logarithms of what the ranker predicts of candidates as they are retrieved (distillation). The value
formula is applied to its heads as to the ranker's, so that another policy needs no other first phase.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path

import numpy as np

from features.spec import FeatureSpec, Group, Kind, ModelInputs
from serving.manifest import agree

LEAST = 1e-9  # the least prediction that counts
MOST_LOG = 50.0
SPAN, BINS = 4.0, 4  # deviations that a line goes on for; ramps of a number
RIDGE = 1e-4  # of a row's weight


@dataclass(frozen=True, eq=False)
class AdditiveCode:
    """F numbers as 2 F + B columns: z, missing, and ramps, of which each has its number, begin and 1 / length."""

    log_scale: np.ndarray  # bool [F]
    mean: np.ndarray  # float32 [F]
    rate: np.ndarray  # 1 / deviation
    number: np.ndarray  # int64 [B]
    low: np.ndarray  # float32 [B]
    slope: np.ndarray

    @classmethod
    def fitted(cls, numbers: np.ndarray, log_scale: np.ndarray) -> AdditiveCode:
        """To float32 [N, F]."""
        values = _scaled(numbers, log_scale)
        known = [column[np.isfinite(column)].astype(np.float64) for column in values.T]
        mean = np.array([column.mean() if len(column) else 0.0 for column in known])
        deviation = np.array([column.std() if len(column) else 0.0 for column in known])
        still = deviation < 1e-6 * np.maximum(np.abs(mean), 1)  # it says nothing
        share = np.linspace(0, 1, BINS + 1)
        edges = [np.unique(np.quantile(column, share)) if len(column) else np.zeros(0) for column in known]
        ramps = [
            (number, start, 1 / (stop - start))
            for number, ends in enumerate(edges)
            if not still[number]
            for start, stop in pairwise(ends)
        ]
        number, low, slope = np.array(ramps).reshape(-1, 3).T
        rate = np.where(still, 0, 1 / np.where(still, 1, deviation))
        mean, rate, low, slope = (array.astype(np.float32) for array in (mean, rate, low, slope))
        return cls(log_scale, mean, rate, number.astype(np.int64), low, slope)

    def encode(self, numbers: np.ndarray) -> np.ndarray:
        """float32 [N, 2 F + B]"""
        values = _scaled(numbers, self.log_scale)
        missing = np.isnan(values)
        z = np.clip((values - self.mean) * self.rate, -SPAN, SPAN)
        z[missing] = 0
        values[missing] = -np.finfo(np.float32).max
        ramps = np.take(values, self.number, axis=1)
        with np.errstate(over="ignore"):
            ramps -= self.low
            ramps *= self.slope
        np.clip(ramps, 0, 1, out=ramps)
        return np.concatenate([z, missing, ramps], axis=1, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class FirstPhase:
    """Follows `Scorer`."""

    heads: tuple[str, ...]
    of_user: AdditiveCode
    of_row: AdditiveCode  # item and pair
    user_weights: np.ndarray  # float32 [columns, heads]
    row_weights: np.ndarray
    offset: np.ndarray  # float32 [heads]

    def score(self, inputs: ModelInputs, *, items: np.ndarray | None = None) -> Mapping[str, np.ndarray]:
        """float64 [N] a head."""
        user = self.of_user.encode(inputs.user_numbers) @ self.user_weights + self.offset
        logs = self.of_row.encode(_of_rows(inputs)) @ self.row_weights + user[inputs.request]
        predicted = np.exp(np.minimum(logs, MOST_LOG), dtype=np.float64)
        return dict(zip(self.heads, np.ascontiguousarray(predicted.T), strict=True))

    @classmethod
    def fitted(
        cls, lists: Sequence[ModelInputs], predictions: Sequence[Mapping[str, np.ndarray]], *, spec: FeatureSpec
    ) -> FirstPhase:
        """To what a ranker predicts of the candidates of some requests, one of each `ModelInputs`."""
        log_scale = {group: np.array([f.log_scale for f in spec.select(group, Kind.NUMBER)], bool) for group in Group}
        of_user = AdditiveCode.fitted(np.concatenate([one.user_numbers for one in lists]), log_scale[Group.USER])
        rows = np.concatenate([_of_rows(one) for one in lists])
        of_row = AdditiveCode.fitted(rows, np.append(log_scale[Group.ITEM], log_scale[Group.CROSS]))
        users = np.concatenate([of_user.encode(one.user_numbers)[one.request] for one in lists])
        columns = np.concatenate([users, of_row.encode(rows), np.ones((len(rows), 1))], axis=1, dtype=np.float64)
        heads = tuple(predictions[0])
        targets = np.log(np.maximum([np.concatenate([one[head] for one in predictions]) for head in heads], LEAST)).T
        normal = columns.T @ columns + RIDGE * len(rows) * np.eye(columns.shape[1])
        weights = np.linalg.solve(normal, columns.T @ targets).astype(np.float32)
        of_users = users.shape[1]
        return cls(heads, of_user, of_row, weights[:of_users], weights[of_users:-1], weights[-1])

    def save(self, path: Path) -> None:
        """One .npz file."""
        arrays = {name: getattr(self, name) for name in ("user_weights", "row_weights", "offset")}
        for part in ("of_user", "of_row"):
            arrays |= {f"{part}.{f.name}": getattr(getattr(self, part), f.name) for f in fields(AdditiveCode)}
        np.savez(path, allow_pickle=False, heads=np.array(self.heads, np.str_), **arrays)

    @classmethod
    def load(cls, path: Path) -> FirstPhase:
        with np.load(path, allow_pickle=False) as file:
            of_user, of_row = (
                AdditiveCode(**{f.name: file[f"{part}.{f.name}"] for f in fields(AdditiveCode)})
                for part in ("of_user", "of_row")
            )
            weights = (file[name] for name in ("user_weights", "row_weights", "offset"))
            return cls(tuple(map(str, file["heads"])), of_user, of_row, *weights)


def load_first_phase(path: Path, heads: Collection[str]) -> FirstPhase | None:
    """Of a bundle whose ranker predicts `heads`, None = it has none; raises BundleError for others."""
    if not path.exists():
        return None
    first_phase = FirstPhase.load(path)
    agree(
        sorted(heads), sorted(first_phase.heads), what="heads of the first phase", fix="Export the whole bundle again."
    )
    return first_phase


def _of_rows(inputs: ModelInputs) -> np.ndarray:
    """float32 [N, F]: the numbers of item and pair."""
    return np.concatenate([inputs.item_numbers, inputs.cross_numbers], axis=1)


def _scaled(numbers: np.ndarray, log_scale: np.ndarray) -> np.ndarray:
    """float32 [N, F]: a copy, finite or NaN, of log scale where the number is."""
    values = np.nan_to_num(numbers.astype(np.float32), nan=np.nan)
    values[:, log_scale] = np.log1p(np.maximum(values[:, log_scale], 0))
    return values
