"""Examined rows: P(examined) of the places of training rows, for a ranker that weighs clicks by it (`ipw`).

By surface, from the training period's clicks alone: the position-based model on items that were shown at several places
(`evaluation.bias.examination.fitted_curves`), relative to the first place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from evaluation.bias.examination import fitted_curves, inverse_examination
from features.encoder import Encoder
from features.spec import Group, Kind
from value_model.rankers.examined_clicks import FAINTEST
from value_model.rankers.group_offsets import groups_of
from value_model.rankers.ranker import RankingData

SURFACE, ITEM = "surface", "item_id"  # features


def with_examination(train: RankingData, held_out: RankingData, encoder: Encoder, *, least: float) -> list[RankingData]:
    """Both with P(examined), which is estimated from `train`; 1 where no click or no place was recorded."""
    parts, click = (train, held_out), train.labels.get("click")
    if click is None or not train.position.any():
        return [replace(part, examination=np.ones(len(part.position), np.float32)) for part in parts]
    surfaces = [_surface(part, encoder) for part in parts]
    used = (train.weight > 0) & ~np.isnan(click)
    item = [feature.name for feature in encoder.spec.select(Group.ITEM, Kind.CATEGORY)].index(ITEM)
    columns = train.position, click, train.inputs.item_codes[:, item], surfaces[0]
    curves = fitted_curves(*(column[used] for column in columns))
    _print(curves, least=least, clicks=train.position[used & (click > 0)], surface=surfaces[0][used & (click > 0)])
    return [
        replace(part, examination=_examination(part.position, surface, curves))
        for part, surface in zip(parts, surfaces, strict=True)
    ]


def _surface(data: RankingData, encoder: Encoder) -> np.ndarray:
    """[N] codes of the surfaces, as text; "0" where the features name none."""
    groups = groups_of(encoder, [SURFACE])
    return (groups[0].of(data.inputs) if groups else np.zeros(len(data.position), np.int32)).astype(str)


def _examination(position: np.ndarray, surface: np.ndarray, curves: Mapping[str, np.ndarray]) -> np.ndarray:
    """float32 [N]; a surface that training did not see takes the mean curve."""
    result = np.ones(len(position), np.float32)
    mean = np.mean(list(curves.values()), axis=0)
    for code in np.unique(surface).tolist():
        rows = (surface == code) & (position > 0)
        result[rows] = 1 / inverse_examination(curves.get(code, mean), position[rows], cap=1 / FAINTEST)
    return result


def _print(curves: Mapping[str, np.ndarray], *, least: float, clicks: np.ndarray, surface: np.ndarray) -> None:
    at_place = _examination(clicks, surface, curves)
    print(
        f"   ipw: P(examined) at place {len(next(iter(curves.values())))} is "
        f"{min(curve[-1] for curve in curves.values()):.3f} to {max(curve[-1] for curve in curves.values()):.3f} by "
        f"surface; {(at_place <= least).mean():.1%} of the clicks count the most, {1 / least:g}",
        flush=True,
    )
