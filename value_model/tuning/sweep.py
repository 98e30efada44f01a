"""The top of every logged slate under many weightings, without running a model again.

A formula that is linear in its weights, or whose logarithm is (`linear_form`), costs one matrix product for all
weightings; any other is evaluated once per block of weightings. The top k needs no argsort: the candidate's number is
written into the lowest bits of its value, whole rows are sorted as plain numbers, and the bits are read back. With n
candidates values that agree to a relative n / 2^52 (1e-14 for 50) count as equal, and the earlier candidate stands
first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from value_model.formula.evaluate import Columns, evaluate
from value_model.formula.linear_form import linear_form
from value_model.formula.logged_slates import LoggedSlates
from value_model.formula.value_policy import ValuePolicy
from value_model.slate_policies.slate_policy import LOWEST

BLOCK = 1 << 17  # values at a time, 1 MB: what stays in a core's cache
TOGETHER = 32  # weightings in a block
MORE_THAN_ANY = 1e4  # times the largest value: a tier
Weightings = Mapping[str, np.ndarray]  # per weight [W], or [W, R]: one for each request


class Sweep:
    """R slates of n candidates, columns [R, n], ready for any number of weightings; values get `added` [R, n]."""

    def __init__(
        self,
        policy: ValuePolicy,
        columns: Columns,
        *,
        mask: np.ndarray,
        added: np.ndarray | None = None,
        threads: int | None = None,
    ) -> None:
        self.policy, self.mask = policy, mask
        self._added = added
        self._columns = {name: np.broadcast_to(np.asarray(columns[name]), mask.shape) for name in policy.inputs}
        self._threads = threads or os.cpu_count() or 1
        form = linear_form(policy)
        self._form = None if form is not None and form.logarithm and added is not None else form
        self._features: np.ndarray | None = None
        if self._form is not None:
            features = self._form.of(self._columns, mask=mask)
            fixed = np.where(mask, 0.0 if added is None else added, LOWEST)
            stacked = np.concatenate([np.where(mask, features, 0.0), fixed[None]])
            self._features = stacked.reshape(len(stacked), -1)  # [J + 1, R n]: one product for a block of slates
            if not np.isfinite(features[:, mask]).all():
                self._features = None

    @classmethod
    def of(
        cls,
        policy: ValuePolicy,
        slates: LoggedSlates,
        *,
        added: np.ndarray | None = None,
        threads: int | None = None,
    ) -> Sweep:
        """Of logged slates, whose tiers come before the values and what is `added` to them."""
        if slates.tier is not None:
            tier = np.unique(slates.tier, return_inverse=True)[1].reshape(slates.tier.shape)
            values = evaluate(policy, slates.columns, mask=slates.mask)
            step = MORE_THAN_ANY * (1.0 + np.abs(np.where(np.isfinite(values), values, 0.0)).max(initial=0.0))
            added = tier * step + (0.0 if added is None else added)
        return cls(policy, slates.columns, mask=slates.mask, added=added, threads=threads)

    @property
    def linear(self) -> bool:
        """Whether the fast path is taken."""
        return self._features is not None

    def top(self, weightings: Weightings, *, k: int) -> np.ndarray:
        """int16 [W, R, min(k, n)]: columns of the best, best first; absent candidates come last."""
        count, (rows, width) = _count(weightings), self.mask.shape
        k = min(k, width)
        top = np.empty((count, rows, k), np.int16)

        def fill(weights: slice, requests: slice) -> None:
            top[weights, requests] = _best(self._scores(weightings, weights, requests), k)

        self._each(fill, count, rows)
        return top

    def values(self, weightings: Weightings) -> np.ndarray:
        """float64 [W, R, n]: all values at once, for few weightings; LOWEST where absent or not finite."""
        exact = self._form is None or self._form.logarithm
        work = self._evaluated if exact else self._scores
        return work(weightings, slice(0, _count(weightings)), slice(0, len(self.mask)))

    def credit(self, weightings: Weightings, *, examination: np.ndarray, credits: np.ndarray) -> np.ndarray:
        """float64 [W, R, C]: sum over places of examination [R, K] times the credits [R, n, C] of who stands there."""
        count, (rows, width) = _count(weightings), self.mask.shape
        depth, kinds = min(examination.shape[1], width), credits.shape[2]
        flat = np.ascontiguousarray(credits).reshape(rows * width, kinds)
        credited = np.empty((count, rows, kinds))

        def fill(weights: slice, requests: slice) -> None:
            best = _best(self._scores(weightings, weights, requests), depth).astype(np.int64)
            best += (np.arange(requests.start, requests.stop) * width)[:, None]
            looks = examination[requests, None, :depth]
            credited[weights, requests] = np.matmul(looks, flat.take(best, axis=0))[..., 0, :]

        self._each(fill, count, rows)
        return credited

    def _scores(self, weightings: Weightings, weights: slice, requests: slice) -> np.ndarray:
        """float64 [W', R', n]: what ranks as the values do; LOWEST where absent or not finite."""
        part = {name: np.asarray(w)[weights] for name, w in weightings.items()}
        if self._features is None or self._form is None or any(w.ndim > 1 for w in part.values()):
            return self._evaluated(weightings, weights, requests)
        coefficients = np.column_stack([self._form.at(part), np.ones(weights.stop - weights.start)])
        if not np.isfinite(coefficients).all():
            return self._evaluated(weightings, weights, requests)
        width = self.mask.shape[1]
        flat = coefficients @ self._features[:, requests.start * width : requests.stop * width]
        return flat.reshape(len(flat), -1, width)

    def _evaluated(self, weightings: Weightings, weights: slice, requests: slice) -> np.ndarray:
        """float64 [W', R', n]: the formula itself; LOWEST where absent or not finite."""
        part = {name: np.asarray(w)[weights] for name, w in weightings.items()}
        lifted = {n: w[:, None, None] if w.ndim == 1 else w[:, requests, None] for n, w in part.items()}
        columns = {name: column[requests] for name, column in self._columns.items()}
        mask = self.mask[requests]
        values = evaluate(self.policy, columns, weights=lifted, mask=mask)
        values = np.broadcast_to(values, (weights.stop - weights.start, *mask.shape))
        if self._added is not None:
            values = values + self._added[requests]
        fresh = np.where(mask & np.isfinite(values), values, LOWEST)
        fresh += 0.0  # -0 becomes 0, which a matrix product gives by itself
        return fresh

    def _each(self, fill: Callable[[slice, slice], None], count: int, rows: int) -> None:
        """Run `fill` over blocks of weightings and requests."""
        together = min(TOGETHER, max(1, -(-count // self._threads)))
        step = max(1, BLOCK // (together * self.mask.shape[1]))

        def run(start: int) -> None:
            for low in range(0, rows, step):
                fill(slice(start, min(start + together, count)), slice(low, min(low + step, rows)))

        with threadpool_limits(1), ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(run, range(0, count, together)))


def _count(weightings: Weightings) -> int:
    counts = {len(w) for w in weightings.values()}
    if len(counts) != 1:
        raise ValueError(f"weightings have {sorted(counts)} entries; each weight needs the same number W.")
    return counts.pop()


def _best(values: np.ndarray, k: int) -> np.ndarray:
    """Columns of the k highest along the last axis, highest first, the earlier one first among equals.

    `values` are spent: a fresh, contiguous array without -0, whose bits rank below 0.
    """
    bits = max(1, int(values.shape[-1] - 1).bit_length())
    full = np.int64((1 << bits) - 1)
    raw = values.view(np.int64)
    columns = np.arange(values.shape[-1])
    # A larger number in the low bits raises a positive value and lowers a negative one: hence the flip by sign.
    positive = values.min(initial=0.0) >= 0
    np.bitwise_and(raw, ~full, out=raw)
    np.bitwise_or(raw, columns ^ (full if positive else ~(raw >> 63) & full), out=raw)
    values.sort(axis=-1)
    last = raw[..., : -k - 1 : -1] if k < values.shape[-1] else raw[..., ::-1]
    return (last ^ (full if positive else ~(last >> 63) & full)) & full
