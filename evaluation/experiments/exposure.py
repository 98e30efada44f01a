"""Exposure: which variant of which experiment a slate was answered under, as it was logged.

A slate's columns `experiment` and `variant` are aligned lists, joined by ";": a slate in two experiments has
experiment = "price_badge;weights" and variant = "control;more_clicks". Null = in none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SEPARATOR = ";"


def exposure_cells(variants: Mapping[str, str]) -> dict[str, str]:
    """The cells `experiment` and `variant` of a slate, from its variant in each experiment; empty for none."""
    if not variants:
        return {}
    names = sorted(variants)
    return {"experiment": SEPARATOR.join(names), "variant": SEPARATOR.join(variants[name] for name in names)}


def exposed_variants(experiment: str | None, variant: str | None) -> dict[str, str]:
    """The variant in each experiment, from a slate's two cells."""
    if experiment is None or variant is None:
        return {}
    return dict(zip(experiment.split(SEPARATOR), variant.split(SEPARATOR), strict=True))


def variant_column(slates: pa.Table, experiment: str) -> np.ndarray:
    """object [slates]: the variant in `experiment` of each row of SLATE, None where it is not in it."""
    pairs = [pc.fill_null(slates[name].cast(pa.string()), "") for name in ("experiment", "variant")]
    pair = pc.binary_join_element_wise(*pairs, "\n").combine_chunks().dictionary_encode()
    variants = [exposed_variants(*cell.split("\n")).get(experiment) for cell in pair.dictionary.to_pylist()]
    return np.array([*variants, None], object)[pair.indices.to_numpy()]


def with_variants(slates: pa.Table, experiment: str, variants: Sequence[str | None]) -> pa.Table:
    """SLATE rows as they are logged under one experiment: the variant of each, None = not in it."""
    named = [None if variant is None else experiment for variant in variants]
    for column, values in (("experiment", named), ("variant", list(variants))):
        at = slates.schema.get_field_index(column)
        field = slates.schema.field(at)
        slates = slates.set_column(at, field, pa.array(values, pa.string()).cast(field.type))
    return slates
