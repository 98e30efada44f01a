"""Recorded slates as an engine would have logged them: predictions, features and values in their columns."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from marketplace.dataset import Dataset
from marketplace.schema import CONSIDERED_KEY, SLATE
from marketplace.slate_columns import RequestLists, context, flat, item_offsets, map_of_lists, to_numpy
from marketplace.splits import microseconds
from retrieval.labelled_requests import segment_of_requests
from value_model.formula import ValuePolicy, evaluate_rows
from value_model.formula.evaluate import evaluate_all
from value_model.formula.logged_slates import logged_column
from value_model.merchant import MerchantTable
from value_model.tuning.scoring import request_weights


def value_slates(
    dataset: Dataset,
    slates: pa.Table,
    heads: Mapping[str, np.ndarray],
    policy: ValuePolicy,
    *,
    features: Mapping[str, np.ndarray],
) -> pa.Table:
    """`slates` with heads and numeric features ([N] each), and the policy's values under each request's weights.

    Merchants and margins are those of the data set, but for slates that a service answered: they hold what it read. The
    features are all logged, whether the policy reads them or not: another one may.
    """
    offsets = item_offsets(slates)
    request = np.repeat(np.arange(len(slates)), np.diff(offsets))
    merchants = MerchantTable.from_table(dataset.merchants)
    codes = merchants.codes(flat(slates, "merchant_id"))
    quantities = merchants.quantities_at(codes, seconds=microseconds(slates["time"])[request] / 1e6)
    known = quantities | {"margin": _margins(dataset, flat(slates, "item_id"))}
    numeric = {**features, **_as_served(slates, known)}
    columns = {**numeric, **heads, "price": flat(slates, "price").to_numpy()}
    surface = to_numpy(slates["surface"])
    weights = request_weights(policy, surface, segment_of_requests(dataset, slates, dataset.segment))
    value = evaluate_rows(policy, columns, offsets, weights=weights)
    by_row = {name: weight[request] for name, weight in weights.items()}
    named = {} if policy.slate_relative else evaluate_all(policy, columns, weights=by_row)
    new = {
        "predictions": _map(heads, offsets, pa.float64()),
        "numeric": _map(numeric, offsets, pa.float32()),
        "weights": _map_of_scalars(weights),
        "value": _list(value, offsets),
        "merchant_value": _list(named.get("merchant_value", np.zeros(len(value))), offsets),
        "policy_version": pa.array([policy.version] * len(slates)).dictionary_encode(),
    }
    for name, values in new.items():
        slates = slates.set_column(
            slates.column_names.index(name), SLATE.field(name), values.cast(SLATE.field(name).type)
        )
    return slates


def _as_served(slates: pa.Table, known: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is `known` of the rows today, or what the service read that answered: a catalogue moves."""
    answered = np.repeat(context(slates, CONSIDERED_KEY).is_valid(), np.diff(item_offsets(slates)))
    read = {name: logged_column(slates, name) for name in known}
    return {name: np.where(answered & read[name][1], read[name][0], column) for name, column in known.items()}


def _margins(dataset: Dataset, item_ids: pa.Array) -> np.ndarray:
    """float64 [N]: of the catalogue; NaN where it is not known."""
    return dataset.of_items(item_ids, "margin").to_numpy(zero_copy_only=False)


def _map(columns: Mapping[str, np.ndarray], offsets: np.ndarray, values: pa.DataType) -> pa.MapArray:
    lists = {name: RequestLists(offsets, pa.array(column).cast(values)) for name, column in columns.items()}
    return map_of_lists(lists, requests=len(offsets) - 1, values=values)


def _map_of_scalars(columns: Mapping[str, np.ndarray]) -> pa.MapArray:
    requests = len(next(iter(columns.values())))
    keys = pa.array(list(columns) * requests, pa.string())
    values = pa.array(np.stack(list(columns.values()), axis=1).ravel())
    return pa.MapArray.from_arrays(pa.array(np.arange(requests + 1) * len(columns), pa.int32()), keys, values)


def _list(values: np.ndarray, offsets: np.ndarray) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))
