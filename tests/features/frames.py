"""Taking some requests out of a feature frame."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from features.spec import FeatureFrame, Group, ModelInputs


def select_requests(frame: FeatureFrame, requests: np.ndarray) -> FeatureFrame:
    """The frame of `requests` (bool [R]) alone, in the same order."""
    rows = pa.array(np.repeat(requests, np.diff(frame.offsets)))
    chosen = pa.array(requests)
    groups = {feature.name: feature.group for feature in frame.spec.features}
    columns = {
        name: column.filter(chosen if groups[name] is Group.USER else rows) for name, column in frame.columns.items()
    }
    return FeatureFrame(frame.spec, np.append(0, np.cumsum(np.diff(frame.offsets)[requests])), columns)


def select_inputs(inputs: ModelInputs, requests: np.ndarray) -> ModelInputs:
    """The model inputs of `requests` (bool [R]) alone; requests are numbered anew."""
    rows = requests[inputs.request]
    number = np.cumsum(requests) - 1
    return ModelInputs(
        user_codes=inputs.user_codes[requests],
        user_lists=inputs.user_lists[requests],
        user_numbers=inputs.user_numbers[requests],
        item_codes=inputs.item_codes[rows],
        item_lists=inputs.item_lists[rows],
        item_numbers=inputs.item_numbers[rows],
        cross_codes=inputs.cross_codes[rows],
        cross_numbers=inputs.cross_numbers[rows],
        request=number[inputs.request[rows]].astype(np.int32),
    )
