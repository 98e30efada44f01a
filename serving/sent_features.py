"""Mapped features as callers send them: cells by name, into the columns that a request carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from features.spec import Feature, FeatureSpec, Kind, Source
from marketplace.finding import nearest
from marketplace.schema import LARGEST_FLOAT32
from serving.request import BadRequest

Cell = float | bool | str | None


def sent_features(
    cells: Mapping[str, Sequence[Cell]], spec: FeatureSpec, source: Source, *, rows: int, where: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Numbers float32 [rows] (yes = 1, no = 0, missing = NaN) and words str [rows] (missing = None), by name.

    Raises BadRequest, with the nearest name, for a feature that `spec` does not have from `source`, for a word where a
    number belongs or the other way round, and for a number that float32 does not hold.
    """
    if not cells:
        return {}, {}
    features = {feature.name: feature for feature in spec.mapped(source)}
    numeric, categorical = {}, {}
    for name, column in cells.items():
        if name not in features:
            message = f"this model has no such feature of the {source}. {_known(name, spec, source)}"
            raise BadRequest(f"{where}.{name}", message)
        if features[name].kind is Kind.NUMBER:
            numeric[name] = _numbers(column, features[name], where=where)
        else:
            categorical[name] = _words(column, features[name], where=where)
    return numeric, categorical


def _known(name: str, spec: FeatureSpec, source: Source) -> str:
    elsewhere = next((f for f in spec.features if f.name == name and f.source is not source), None)
    if elsewhere is not None:
        computed = elsewhere.source is Source.STANDARD
        place = "computed by the service" if computed else f"one of the {elsewhere.source}"
        return f"It is {place}: leave it out here."
    names = [feature.name for feature in spec.mapped(source)]
    return nearest(name, names) if names else "It has none: leave the field out."


def _numbers(column: Sequence[Cell], feature: Feature, *, where: str) -> np.ndarray:
    if word := next((cell for cell in column if isinstance(cell, str)), None):
        raise BadRequest(f"{where}.{feature.name}", f"is a number; {word!r:.40} was received")
    numbers = np.array(column, np.float64)
    if len(beyond := np.flatnonzero(np.abs(numbers) > LARGEST_FLOAT32)):
        raise BadRequest(
            f"{where}.{feature.name}", f"{numbers[beyond[0]]:g} was received; send at most {LARGEST_FLOAT32:g} in size"
        )
    return numbers.astype(np.float32)


def _words(column: Sequence[Cell], feature: Feature, *, where: str) -> np.ndarray:
    number = next((cell for cell in column if cell is not None and not isinstance(cell, str)), None)
    if number is not None:
        raise BadRequest(f"{where}.{feature.name}", f"is a word; {number!r:.40} was received")
    return np.array(column, object)
