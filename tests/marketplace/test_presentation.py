"""Presentation: how a list was shown, as numbers."""

import numpy as np
import pyarrow as pa
import pytest

from jobs.data import market
from marketplace.presentation import COLUMNS, WIDTHS, presentation
from marketplace.schema import SURFACES
from marketplace.slate_columns import flat, request_of_rows


@pytest.fixture(scope="module")
def slates() -> pa.Table:
    return market("small", seed=3).dataset.slates.slice(0, 60)


def test_every_name_has_its_width(slates):
    assert set(WIDTHS) == set(COLUMNS)
    for name, width in WIDTHS.items():
        assert presentation(slates, [name]).shape == (len(request_of_rows(slates)), width)


def test_surface_and_device_stand_with_the_place(slates):
    values, request = presentation(slates, ["surface", "device"]), request_of_rows(slates)
    position = flat(slates, "position").to_numpy()
    surface = np.array([SURFACES.index(name) for name in slates["surface"].to_pylist()])[request]
    rows = np.arange(len(values))
    np.testing.assert_allclose(values[rows, 2 * surface], 1)
    np.testing.assert_allclose(values[rows, 2 * surface + 1], np.log(position), rtol=1e-6)
    np.testing.assert_allclose(values[:, : 2 * len(SURFACES)].sum(axis=1), 1 + np.log(position), rtol=1e-6)
    np.testing.assert_allclose(values[:, 2 * len(SURFACES) :].sum(axis=1), np.log(position), rtol=1e-6)


def test_a_price_is_compared_with_those_shown_beside_it(slates):
    values, request = presentation(slates, ["neighbours"])[:, 0], request_of_rows(slates)
    price, position = flat(slates, "price").to_numpy(), flat(slates, "position").to_numpy()
    for row in range(0, len(values), 7):
        beside = (request == request[row]) & (np.abs(position - position[row]) == 1)
        expected = np.log(price[row] / price[beside].mean()) if beside.any() else 0.0
        assert values[row] == pytest.approx(np.clip(expected, -2, 2), abs=1e-5)


def test_rows_and_columns_need_the_page_s_columns(slates):
    assert not presentation(slates, ["grid"]).any()
    context = [
        dict(entries) | {"columns": "4" if row else "many"} for row, entries in enumerate(slates["context"].to_pylist())
    ]
    place, field = slates.column_names.index("context"), slates.schema.field("context")
    wide = slates.set_column(place, field, pa.array([list(entries.items()) for entries in context], field.type))
    values, request = presentation(wide, ["grid"]), request_of_rows(slates)
    position = flat(slates, "position").to_numpy()
    assert not values[request == 0].any()
    np.testing.assert_allclose(values[request > 0, 0], np.log1p((position[request > 0] - 1) // 4), rtol=1e-6)
    np.testing.assert_allclose(values[request > 0, 1], (position[request > 0] - 1) % 4 / 3, rtol=1e-6)


def test_a_badge_is_a_treatment_and_what_is_not_shown_has_no_presentation(slates):
    assert not presentation(slates, ["badge"]).any()
    position = flat(slates, "position").to_numpy().copy()
    position[::3] = 0
    offsets = np.append(0, np.cumsum(np.bincount(request_of_rows(slates))))
    column = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(position))
    some = slates.set_column(slates.column_names.index("position"), slates.schema.field("position"), column)
    assert not presentation(some, list(WIDTHS))[::3].any()
