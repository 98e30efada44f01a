"""ESCM2's losses are unbiased for the error over all rows, clicked or not, and steer cvr where clicks select."""

from __future__ import annotations

import numpy as np
import pytest

from features.keras2 import tensorflow as tf
from marketplace.heads import head_of
from value_model.rankers.conversion_losses import doubly_robust, inverse_propensity
from value_model.rankers.logits import Logits

ROWS = 400_000
CVR = head_of("cvr")


def logit(p: np.ndarray) -> tf.Tensor:
    return tf.constant(np.log(p) - np.log1p(-p), tf.float32)


@pytest.fixture(scope="module")
def rows() -> dict[str, np.ndarray]:
    """Rows that are clicked more convert more; the prediction of cvr is off."""
    rng = np.random.default_rng(0)
    drive = rng.random(ROWS)
    ctr, cvr, predicted = 0.05 + 0.4 * drive, 0.1 + 0.6 * drive**2, 0.3 + 0.2 * drive
    click = rng.random(ROWS) < ctr
    would = rng.random(ROWS) < cvr
    labels = {"click": click.astype(np.float32), "order": (click & would).astype(np.float32)}
    error = -np.where(would, np.log(predicted), np.log1p(-predicted))
    return {"ctr": ctr, "cvr": cvr, "prediction": predicted, "error": error, **labels}


def losses(rows: dict[str, np.ndarray], *, ctr: np.ndarray, imputed: np.ndarray) -> tuple[float, float]:
    logits = Logits({"ctr": logit(ctr), "cvr": logit(rows["prediction"])}, {})
    labels = {name: tf.constant(rows[name]) for name in ("click", "order")}
    ips = inverse_propensity(logits, CVR, labels, weight=tf.ones(ROWS))
    robust = doubly_robust(logits, CVR, labels, weight=tf.ones(ROWS), imputed=logit(imputed))
    predicted, click, order = rows["prediction"], rows["click"], rows["order"]
    error = -(order * np.log(predicted) + (1 - order) * np.log1p(-predicted))
    guess = -(imputed * np.log(predicted) + (1 - imputed) * np.log1p(-predicted))
    return float(ips), float(robust) - np.mean(click / ctr * (error - guess) ** 2)


def test_both_expect_the_error_over_all_rows_where_the_naive_mean_does_not(rows: dict[str, np.ndarray]) -> None:
    truth, naive = rows["error"].mean(), rows["error"][rows["click"] > 0].mean()
    assert abs(naive - truth) > 0.03
    assert losses(rows, ctr=rows["ctr"], imputed=np.full(ROWS, 0.5)) == pytest.approx([truth, truth], abs=6e-3)


def test_where_the_propensity_is_wrong_a_right_imputation_still_holds(rows: dict[str, np.ndarray]) -> None:
    truth = rows["error"].mean()
    ips, robust = losses(rows, ctr=0.7 * rows["ctr"], imputed=rows["cvr"])
    assert ips > 1.3 * truth
    assert robust == pytest.approx(truth, abs=6e-3)


def test_the_propensity_is_given_and_the_imputation_learns_from_its_misses_alone() -> None:
    ctr, cvr, rate = (tf.Variable([value] * 4) for value in (-1.0, 0.2, 0.4))
    labels = {"click": tf.constant([1.0, 0, 1, 0]), "order": tf.constant([1.0, 0, 0, np.nan])}
    with tf.GradientTape() as tape:
        logits = Logits({"ctr": ctr, "cvr": cvr}, {})
        loss = doubly_robust(logits, CVR, labels, weight=tf.ones(4), imputed=rate)
    by_click, by_rate, by_order = tape.gradient(loss, [ctr, rate, cvr])
    assert by_click is None
    assert (np.abs(by_rate.numpy()) > 0).tolist() == [True, False, True, False]
    assert (np.abs(by_order.numpy()) > 0).tolist() == [True, True, True, False]
