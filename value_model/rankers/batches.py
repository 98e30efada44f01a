"""Batches of whole requests from packed arrays, without a loop over rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import numpy as np

from features.spec import ModelInputs
from value_model.rankers.ranker import OpenLabel, RankingData


def batches(data: RankingData, *, size: int, rng: np.random.Generator | None) -> Iterator[RankingData]:
    """Batches of `size` requests; shuffled by `rng`, or in order when it is None."""
    requests = len(data.inputs.user_codes)
    order = np.arange(requests) if rng is None else rng.permutation(requests)
    starts = request_offsets(data.inputs.request, requests)
    for first in range(0, requests, size):
        yield take(data, order[first : first + size], offsets=starts)


def request_offsets(request: np.ndarray, requests: int) -> np.ndarray:
    """int64 [R + 1]; ValueError when the rows of a request do not stand together in order."""
    if np.any(np.diff(request) < 0):
        raise ValueError("rows must be sorted by request: sort them before training.")
    return np.searchsorted(request, np.arange(requests + 1))


def take(data: RankingData, requests: np.ndarray, *, offsets: np.ndarray) -> RankingData:
    """The rows of `requests`, in that order; ModelInputs.request counts within the batch."""
    lengths = offsets[requests + 1] - offsets[requests]
    local = np.repeat(np.arange(len(requests), dtype=np.int32), lengths)
    within = np.arange(len(local)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    rows = offsets[requests][local] + within
    columns = {
        field.name: getattr(data.inputs, field.name)[requests if field.name.startswith("user_") else rows]
        for field in fields(ModelInputs)
    }
    labels = {name: column[rows] for name, column in data.labels.items()}
    inputs = ModelInputs(**columns | {"request": local})
    further = {
        name: None if column is None else column[rows]
        for name, column in {"examination": data.examination, "presentation": data.presentation}.items()
    }
    still_open = {name: OpenLabel(one.recorded[rows], one.come[rows]) for name, one in data.open.items()}
    return RankingData(inputs, labels, data.position[rows], data.weight[rows], **further, open=still_open)
