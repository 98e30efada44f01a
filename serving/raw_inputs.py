"""Raw inputs: what the raw signatures of a SavedModel take, one input a feature, as a slate logs them.

Shapes and missing values are those of `features.encoder_graph`, for one request. A mapped feature whose name is none of
TensorFlow's (A-Z, a-z, 0-9, _ and .), or differs from another in capitals alone, gets one. Beside the features stand,
float64 [N], the columns that the formula reads and no feature gives: under their own names, or with the prefix
"formula." where a feature has that name, since its content may differ; and `surface`, string [1], unless it is a
feature anyway.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import count, islice

import numpy as np

from features.encoder import Encoder
from features.spec import FeatureSpec, Group, Kind, ModelInputs, Source
from marketplace.heads import HEADS
from marketplace.schema import FORMULA_PREFIX
from marketplace.slate import Slate
from serving.valuation import QUANTITIES, SLATE_COLUMNS
from value_model.formula import ValuePolicy

SURFACE = "surface"
NO_NAME = "no-such-name"  # stands for any name that a vocabulary does not hold

Call = Mapping[str, np.ndarray]


def quantities(policy: ValuePolicy) -> tuple[str, ...]:
    """The columns that the formula reads beside the heads."""
    return tuple(name for name in policy.inputs if name not in {head.name for head in HEADS})


def input_names(spec: FeatureSpec) -> dict[str, str]:
    """Feature -> raw input; TensorFlow does not tell capitals from small letters."""
    features = {feature.name for feature in spec.features}
    kept = {feature.name: feature.name for feature in spec.features if feature.source is Source.STANDARD}
    taken = {name.lower() for name in (*kept, SURFACE, *{*QUANTITIES, *SLATE_COLUMNS} - features)}
    for feature in spec.mapped():
        plain = re.sub(r"[^A-Za-z0-9_.]", "_", feature.name).strip("_") or "feature"
        numbered = (f"{plain}_{number}" for number in count(2))
        kept[feature.name] = next(name for name in (plain, *islice(numbered, len(taken))) if name.lower() not in taken)
        taken.add(kept[feature.name].lower())
    return kept


def formula_inputs(spec: FeatureSpec, policy: ValuePolicy) -> dict[str, str]:
    """Column that the formula reads beside the heads -> the raw input that holds it; a feature's own, or another."""
    names, apart = input_names(spec), (*QUANTITIES, *SLATE_COLUMNS)
    return {
        column: FORMULA_PREFIX + column if column in names and column in apart else names.get(column, column)
        for column in quantities(policy)
    }


def raw_call(slate: Slate, spec: FeatureSpec, policy: ValuePolicy) -> dict[str, np.ndarray]:
    """The inputs of signature `raw_value` that a slate was predicted and valued from, of all its items."""
    names, call = input_names(spec), {SURFACE: np.array([slate.surface], object)}
    for feature in spec.features:
        logged = (slate.numeric if feature.kind is Kind.NUMBER else slate.categorical)[feature.name]
        if feature.kind is not Kind.NUMBER:
            logged = np.array([word or "" for word in logged.tolist()], object)
        listed = feature.kind is Kind.CATEGORIES and feature.group is Group.USER
        call[names[feature.name]] = logged[None] if listed else logged
    columns = {**slate.numeric, **{name: getattr(slate, name) for name in SLATE_COLUMNS}}
    for column, name in formula_inputs(spec, policy).items():
        if name not in call:
            logged = columns[FORMULA_PREFIX + column if FORMULA_PREFIX + column in columns else column]
            call[name] = logged.astype(np.float64)
    return call


def retrieve_call(raw: Call, spec: FeatureSpec) -> dict[str, np.ndarray]:
    """The inputs of signature `retrieve` of the request of a `raw_call`: its lists cut or filled up to their length."""
    names, call = input_names(spec), {}
    for feature in spec.features:
        if feature.group is Group.USER:
            call[names[feature.name]] = values = raw[names[feature.name]]
            if feature.kind is Kind.CATEGORIES:
                last = values[:, -feature.length :]
                call[names[feature.name]] = np.full((len(values), feature.length), "", object)
                call[names[feature.name]][:, : last.shape[1]] = last
    return call


def decoded(inputs: ModelInputs, encoder: Encoder) -> dict[str, np.ndarray]:
    """The raw features of one request's packed inputs; shared codes of unknown names give any such name."""
    names, call = input_names(encoder.spec), {}
    for group in Group:
        columns = {
            Kind.CATEGORY: getattr(inputs, f"{group.value}_codes"),
            Kind.CATEGORIES: getattr(inputs, f"{group.value}_lists", None),
            Kind.NUMBER: getattr(inputs, f"{group.value}_numbers"),
        }
        for kind, packed in columns.items():
            start = 0
            for feature in encoder.spec.select(group, kind):
                column = packed[:, start : start + feature.length]
                start += feature.length
                if kind is not Kind.NUMBER:
                    column = _names(column, encoder.vocabularies[feature.table])
                if kind is not Kind.CATEGORIES:
                    column = column[:, 0]
                elif group is not Group.USER:
                    column = np.array([" ".join(words) for words in column.tolist()], object)
                call[names[feature.name]] = column
    return call


def _names(codes: np.ndarray, vocabulary: tuple[str, ...]) -> np.ndarray:
    """Code 0 is missing, 1 and those behind the vocabulary are names that it does not hold."""
    names = np.array(["", NO_NAME, *vocabulary, NO_NAME], object)
    return names[np.minimum(codes, len(names) - 1)]
