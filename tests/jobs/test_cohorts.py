"""Cohorts: who and what counts as new, and metrics of their rows worked out by hand."""

import numpy as np
import pyarrow as pa
import pytest

from evaluation.cohorts import by_cohort
from jobs.cohorts import newcomers, with_known

TRAIN = np.array([True, True, False, False])


def test_new_is_what_no_training_request_had():
    slates = pa.table(
        {
            "user_id": ["a", "b", "a", "c"],
            "item_id": [["i", "j"], ["k"], ["i", "new"], ["k"]],
            "merchant_id": [["m", "m"], ["n"], ["m", None], ["o"]],
        }
    )
    new = newcomers(slates, TRAIN)
    assert {name: np.flatnonzero(rows).tolist() for name, rows in new.items()} == {
        "new shoppers": [5],
        "new items": [4],
        "new merchants": [5],
    }
    assert list(with_known(new | {"new items": np.zeros(6, bool)})) == [
        *("new shoppers", "known shoppers", "new merchants", "known merchants"),
    ]


def test_auc_is_of_the_cohorts_rows_and_ndcg_of_its_gains_in_whole_lists():
    """Two lists of three; the third row of each is of a new item, and the one of the second list is clicked."""
    click, ctr = np.array([1, 0, 0, 0, 1, 1.0]), np.array([0.9, 0.5, 0.1, 0.6, 0.3, 0.4])
    new = np.tile([False, False, True], 2)
    cohorts = with_known({"new items": new}) | {"nobody": np.zeros(6, bool)}
    settings = {"baseline": "a", "rng": np.random.default_rng(0), "k": 2}
    parts = by_cohort(
        {"a": {"ctr": ctr}, "b": {"value": ctr}}, {"click": click}, np.array([0, 3, 6]), cohorts, **settings
    )
    assert list(parts) == ["new items (2 rows)", "known items (4 rows)"]
    of_new, of_known = (part.metrics["a"] for part in parts.values())
    assert of_new["ctr.auc"].value == 1.0  # 0.4 clicked, 0.1 not
    assert of_known["ctr.auc"].value == 2 / 4  # of 0.9 and 0.3 against 0.5 and 0.6
    assert of_new["ctr.calibration_ratio"].value == pytest.approx(0.5)
    assert of_new["ctr.ndcg@2"].value == pytest.approx(1 / np.log2(3))  # second of three; the other list has no gain
    assert of_known["ctr.ndcg@2"].value == pytest.approx((1 + 0) / 2)  # first, and third of two counted
