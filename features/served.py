"""Features in the log: written as they were served, read back exactly, never computed again.

In the slate's maps a user feature has one entry, an item or cross feature one a row, a user list its own length; the
words of an item's name are one text a row, joined by spaces. A missing list is an empty one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.spec import Feature, FeatureFrame, FeatureSpec, Group, Kind
from marketplace import slate_columns
from marketplace.schema import SLATE
from marketplace.slate_columns import RequestLists

WORDS = pa.list_(pa.string())


class NotServed(ValueError):
    """A slate's log does not hold the features that are asked for."""


def attach(slates: pa.Table, frame: FeatureFrame) -> pa.Table:
    """`slates` with the frame's features in their maps and its spec's version; rows must be the same."""
    if not np.array_equal(slate_columns.item_offsets(slates), frame.offsets):
        raise ValueError(
            f"the frame has {frame.offsets[-1]} rows, the slates {slate_columns.item_offsets(slates)[-1]}."
        )
    logged = {feature: _logged(feature, frame) for feature in frame.spec.features}
    numeric = {f.name: lists for f, lists in logged.items() if f.kind is Kind.NUMBER}
    categorical = {f.name: lists for f, lists in logged.items() if f.kind is not Kind.NUMBER}
    version = pa.array([frame.spec.version] * len(slates)).dictionary_encode()
    new = {
        "numeric": slate_columns.map_of_lists(numeric, requests=len(slates), values=pa.float32()),
        "categorical": slate_columns.map_of_lists(categorical, requests=len(slates), values=pa.string()),
        "feature_spec_version": version,
    }
    for name, values in new.items():
        field = SLATE.field(name)
        slates = slates.set_column(slates.column_names.index(name), field, values.cast(field.type))
    return slates


def served(slates: pa.Table, spec: FeatureSpec) -> FeatureFrame:
    """The features of logged slates as they were served.

    Raises NotServed where a request lacks a feature of `spec`.
    """
    offsets = slate_columns.item_offsets(slates)
    logged = slate_columns.all_lists(slates, "numeric") | slate_columns.all_lists(slates, "categorical")
    read = {feature.name: _read(feature, logged.get(feature.name), offsets) for feature in spec.features}
    return FeatureFrame(spec, offsets, read)


def _logged(feature: Feature, frame: FeatureFrame) -> RequestLists:
    values = frame.columns[feature.name]
    if feature.kind is Kind.CATEGORIES:
        if feature.group is Group.USER:
            lengths = pc.list_value_length(values).fill_null(0).to_numpy(zero_copy_only=False)
            return RequestLists(np.append(0, np.cumsum(lengths)), values.flatten())
        values = pc.binary_join(values, " ").fill_null("")
    elif feature.kind is Kind.CATEGORY:
        values = values.cast(pa.string())
    ones = np.arange(len(frame.offsets))
    return RequestLists(ones if feature.group is Group.USER else frame.offsets, values)


def _read(feature: Feature, logged: RequestLists | None, offsets: np.ndarray) -> pa.Array:
    requests = len(offsets) - 1
    if logged is None:
        if requests:
            raise NotServed(f"no slate holds feature {feature.name!r}: they were logged under another feature spec.")
        logged = RequestLists(
            np.zeros(1, np.int64), pa.array([], pa.float32() if feature.kind is Kind.NUMBER else pa.string())
        )
    if feature.kind is Kind.CATEGORIES and feature.group is Group.USER:
        return pa.ListArray.from_arrays(pa.array(logged.offsets, pa.int32()), logged.values)
    lengths = np.ones(requests, np.int64) if feature.group is Group.USER else np.diff(offsets)
    wrong = np.flatnonzero(logged.lengths != lengths)
    if len(wrong):
        r = wrong[0]
        raise NotServed(
            f"feature {feature.name!r}: request {r} logged {logged.lengths[r]} values, its slate needs {lengths[r]}."
        )
    if feature.kind is Kind.CATEGORIES:
        words = pc.split_pattern(logged.values, " ")
        empty = pc.equal(logged.values, "")
        return pc.if_else(empty, pa.scalar([], WORDS), words).cast(WORDS)
    return logged.values if feature.kind is Kind.NUMBER else logged.values.dictionary_encode()


def together(frames: Sequence[FeatureFrame], requests: Sequence[np.ndarray]) -> FeatureFrame:
    """One frame of several over one spec; `requests`: which of all requests (positions 0 .. R - 1) each of them has."""
    order = np.argsort(np.concatenate(requests), kind="stable")
    lengths = np.concatenate([np.diff(frame.offsets) for frame in frames])
    starts = np.cumsum(lengths) - lengths
    offsets = np.append(0, np.cumsum(lengths[order]))
    rows = np.repeat(starts[order] - offsets[:-1], lengths[order]) + np.arange(offsets[-1])
    spec, columns = frames[0].spec, {}
    for feature in spec.features:
        parts = [_plain(frame.columns[feature.name], feature.kind) for frame in frames]
        columns[feature.name] = pa.concat_arrays(parts).take(pa.array(order if feature.group is Group.USER else rows))
    return FeatureFrame(spec, offsets, columns)


def _plain(column: pa.Array, kind: Kind) -> pa.Array:
    types = {Kind.NUMBER: pa.float32(), Kind.CATEGORY: pa.string(), Kind.CATEGORIES: WORDS}
    return column.cast(types[kind])


def arrays(frame: FeatureFrame) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The (numeric, categorical) maps of one request's `Slate`: what `attach` writes, without a table."""
    numeric, categorical = {}, {}
    for feature in frame.spec.features:
        values = _logged(feature, frame).values
        if feature.kind is Kind.NUMBER:
            numeric[feature.name] = values.to_numpy(zero_copy_only=False)
        else:
            categorical[feature.name] = np.array(values.to_pylist(), object)
    return numeric, categorical
