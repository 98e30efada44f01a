"""Many weightings of many slates: values block by block, so that every block stays in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from value_model.formula.evaluate import Columns, evaluate
from value_model.formula.linear_form import linear_form
from value_model.formula.value_policy import ValuePolicy

BLOCK = 2**17  # values: 1 MB


def swept(
    policy: ValuePolicy, columns: Columns, weights: Mapping[str, np.ndarray], *, mask: np.ndarray | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """(slates, values float64 [W, r, n]) for consecutive blocks of r of the R slates, columns [R, n], weights [W].

    Linear formulas cost one matrix product a block; others are evaluated with the weightings on a leading axis.
    """
    arrays = {name: np.asarray(columns[name], np.float64) for name in policy.inputs}
    requests, items = np.broadcast_shapes(*(array.shape for array in arrays.values()))
    count = max(len(np.atleast_1d(weight)) for weight in weights.values())
    form = linear_form(policy)
    coefficients = None if form is None else form.at(weights)
    lifted = {name: np.asarray(weight, np.float64).reshape(-1, 1, 1) for name, weight in weights.items()}
    step = max(1, BLOCK // max(count * items, 1))
    for start in range(0, requests, step):
        block = slice(start, min(start + step, requests))
        part = {name: np.broadcast_to(array, (requests, items))[block] for name, array in arrays.items()}
        present = None if mask is None else mask[block]
        if form is not None and coefficients is not None:
            features = form.of(part, mask=present)
            yield block, (coefficients @ features.reshape(len(features), -1)).reshape(count, *features.shape[1:])
        else:
            yield (
                block,
                np.broadcast_to(
                    evaluate(policy, part, weights=lifted, mask=present), (count, block.stop - start, items)
                ),
            )
