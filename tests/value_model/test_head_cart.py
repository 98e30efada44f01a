"""The head `cart`, from a simulated market's log to the service: trained, reported, tuned on, paid for, served."""

import json
import shutil
from datetime import datetime

import numpy as np
import pytest

from desk.publication import ServedPolicy
from jobs.run_evidence import run_evidence
from marketplace.heads import learned_heads
from marketplace.memory_log import MemoryLog
from marketplace.slate_columns import flat, predictions
from serving.bundle import build_engine, load_bundle
from serving.bundle_service import BundleService
from serving.export_savedmodel import graph_names
from serving.request import Request
from value_model.formula import evaluate, shipped_policy
from value_model.policy_checks import check_policy

pytestmark = pytest.mark.xdist_group("run")


@pytest.fixture(scope="module")
def paid(run_folder, tmp_path_factory):
    """The run with a bundle whose policy is `cart`."""
    folder = tmp_path_factory.mktemp("carts") / "run"
    shutil.copytree(run_folder, folder, symlinks=True)
    service = BundleService.of(folder)
    service.switch(service.prepare(ServedPolicy(shipped_policy("cart"))))
    return folder


def test_the_policy_is_its_arithmetic_and_has_no_findings():
    policy = shipped_policy("cart")
    columns = {"cart": np.array([0.03, 0.0]), "gmv": np.array([0.3, 0.5])}
    np.testing.assert_allclose(evaluate(policy, columns), [0.8 * 0.03 + 0.05 * 0.3, 0.05 * 0.5], rtol=1e-12)
    assert check_policy(policy) == []


def test_it_is_there_where_carts_are_recorded():
    assert "cart" in [head.name for head in learned_heads(("click", "cart", "order", "order_value"))]
    assert "cart" not in [head.name for head in learned_heads(("click", "order", "order_value"))]


def test_it_is_trained_and_reported(run_folder):
    metrics = json.loads((run_folder / "evaluation" / "metrics.json").read_text())
    for model in ("network", "lightgbm"):
        assert metrics[model]["cart.auc"]["value"] > 0.55
        assert metrics[model]["value.carts@10"]["value"] > 0
    assert "Calibration of cart" in (run_folder / "evaluation" / "report.html").read_text()


def test_it_is_evidence_and_a_metric_that_a_constraint_may_bound(run_folder):
    evidence = run_evidence(run_folder, rng=np.random.default_rng(0)).evidence
    assert evidence.feedback["cart"].sum() > 0
    assert (evidence.predicted["cart"][evidence.slates.mask] > 0).all()


def test_it_is_served_paid_for_logged_and_exported(paid):
    bundle, log = load_bundle(paid / "bundle"), MemoryLog()
    time = datetime.fromisoformat(bundle.manifest.facts["known_until"])
    build_engine(bundle, log=log).rank(Request(request_id="r", time=time, surface="home", user_id="u1", k=10))
    slates = log.slates()
    cart, gmv = predictions(slates, "cart"), predictions(slates, "gmv")
    assert np.ptp(cart) > 0
    np.testing.assert_allclose(flat(slates, "value").to_numpy(), 0.8 * cart + 0.05 * gmv, rtol=1e-9)
    inputs, outputs = graph_names(paid / "bundle" / "ranker" / "savedmodel" / "1", "value")
    assert "cart" in outputs
    assert "cart" not in inputs
