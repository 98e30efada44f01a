"""Levels of a head: `evaluate`, `check-policy` and `tune` read one table of one population, and say the same."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.run_evidence import run_evidence
from jobs.run_folder import RunFolder
from jobs.run_rankers import choice_of
from value_model.policy_checks import logged_calibration
from value_model.tuning.policy_evaluation import logged_sums

pytestmark = pytest.mark.xdist_group("run")


@pytest.mark.parametrize(("head", "outcome"), [("ctr", "click"), ("ctcvr", "order"), ("gmv", "gmv")])
def test_a_head_is_as_right_everywhere(run_folder, head, outcome):
    folder = run_folder / "evaluation"
    served = choice_of(RunFolder.open(run_folder)).served
    evaluated = json.loads((folder / "metrics.json").read_text())[served][f"{head}.calibration_ratio"]["value"]
    by_surface = logged_calibration(pq.read_table(folder / "slates.parquet"), pq.read_table(folder / "labels.parquet"))
    evidence = run_evidence(run_folder, rng=np.random.default_rng(0)).evidence
    expected = (evidence.looked * evidence.predicted[outcome]).sum(axis=1)
    happened = logged_sums(evidence)[outcome]
    assert expected.sum() / happened.sum() == pytest.approx(evaluated, rel=1e-6)
    for surface, ratios in by_surface.items():
        rows = evidence.slates.surface == surface
        assert expected[rows].sum() / happened[rows].sum() == pytest.approx(ratios[head].value, rel=1e-6)
