"""The heads of what is kept, neither refused at the door nor returned, from the log to the service."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from jobs.data import kept, market
from jobs.run_evidence import evidence_of, run_evidence
from marketplace.attribution import attribute
from marketplace.heads import learned_heads, products
from marketplace.settled import settled_for_all, settled_labels, settled_requests, with_maturity, with_settled
from marketplace.slate_columns import predictions
from marketplace.splits import DAY_US, microseconds
from value_model.formula import evaluate, shipped_policy
from value_model.policy_checks import check_policy

LABELS = ("click", "order", "order_value", "kept_order", "net_value")


def test_the_policy_is_its_arithmetic_and_has_no_findings():
    policy = shipped_policy("net_gmv")
    columns = {"ctr": np.array([0.05, 0.1]), "kept_order": np.array([0.01, 0.0]), "net_gmv": np.array([2.0, 0.0])}
    np.testing.assert_allclose(evaluate(policy, columns), [0.007 + 0.04 + 0.3, 0.014], rtol=1e-12)
    assert check_policy(policy) == []


def test_they_are_there_where_returns_are_recorded():
    learned = [head.name for head in learned_heads(LABELS)]
    assert learned == ["ctr", "cvr", "order_value", "kept"]
    assert [head.name for head in products(learned)] == ["ctcvr", "gmv", "kept_order", "net_gmv"]
    assert "kept" not in [head.name for head in learned_heads(LABELS[:3])]


def test_an_order_is_kept_for_good_only_once_its_return_would_have_come():
    """Returns take weeks: young orders say nothing of them, and still say all of clicks and orders."""
    dataset = market("small", seed=3).dataset
    time = microseconds(dataset.feedback["time"])
    end = int(microseconds(dataset.slates["time"])[-1]) + 1
    feedback = dataset.feedback.filter(pa.array(time < end))
    joined, truth = attribute(dataset.slates, feedback), attribute(dataset.slates, dataset.feedback).labels
    settled = settled_requests(joined, feedback)
    known = settled_labels(joined, settled)
    labels, final = (part["kept_order"].to_numpy() for part in (joined.labels, truth))
    young = ~known["kept_order"]
    assert labels[young].sum() > final[young].sum()
    np.testing.assert_array_equal(labels[~young], final[~young])
    age = (end - microseconds(dataset.slates["time"])) / DAY_US
    assert settled_for_all(joined, settled)[age > 5].all()
    mature = with_settled(joined, settled)
    assert pc.sum(mature["return_mature"]).as_py() < pc.sum(mature["mature"]).as_py()


@pytest.mark.xdist_group("run")
def test_they_are_trained_reported_served_and_tuned_on(run_folder):
    metrics = json.loads((run_folder / "evaluation" / "metrics.json").read_text())
    assert metrics["lightgbm"]["value.kept_orders@10"]["value"] > 0
    slates = pq.read_table(run_folder / "evaluation" / "slates.parquet")
    gmv, share, net = (predictions(slates, name) for name in ("gmv", "kept", "net_gmv"))
    np.testing.assert_allclose(net, gmv * share, rtol=1e-12)
    joined = attribute(kept(run_folder).slates, kept(run_folder).feedback)
    orders = joined.labels.filter(joined.labels["order"])
    assert share.mean() == pytest.approx(pc.mean(orders["kept_order"].cast(pa.float64())).as_py(), abs=0.1)
    recorded = run_evidence(run_folder, rng=np.random.default_rng(0))
    evidence = recorded.evidence
    assert 0 < evidence.feedback["net_gmv"].sum() < evidence.feedback["gmv"].sum()
    rows = np.ones(len(recorded.labels), bool)
    young = with_maturity(recorded.labels, rows, late=~rows)
    policy, rng = recorded.policy, np.random.default_rng(0)
    unknown, _ = evidence_of(recorded.dataset, recorded.slates, young, policy, ranked_by=policy, rng=rng)
    assert set(evidence.feedback) - set(unknown.feedback) == {"kept_order", "net_gmv"}
