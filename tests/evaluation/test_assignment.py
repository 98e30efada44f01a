"""Assignment: uniform, independent between layers, sticky under a rising ramp, exclusive within a layer."""

from dataclasses import replace
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import chi2_contingency, kstest

from evaluation.experiments.assignment import assign, held_out, uniform
from evaluation.experiments.experiment_file import ExperimentMetrics, TrafficLayer, Variant, parse_experiment
from evaluation.experiments.exposure import exposed_variants, exposure_cells, variant_column
from tests.evaluation.test_experiment_file import EXAMPLE

UNITS = [f"user {number}" for number in range(20_000)]
WHOLE = replace(parse_experiment(EXAMPLE), holdout=0.0, layer=TrafficLayer())
LAST = len(WHOLE.ramp.steps) - 1


def test_the_draw_is_the_documented_hash():
    digest = blake2b(b"value\0user 1", digest_size=8).digest()
    assert uniform("value", ["user 1"])[0] == pytest.approx(int.from_bytes(digest) / 2**64, abs=1e-15)
    assert uniform("value", []).shape == (0,)


def test_draws_are_uniform_for_every_salt():
    assert min(kstest(uniform(salt, UNITS), "uniform").pvalue for salt in map(str, range(20))) > 0.05 / 20


def test_variants_have_their_shares():
    three = (Variant("in_force", 0.5), Variant("a", 0.3, policy="default"), Variant("b", 0.2, policy="default"))
    counts = np.bincount(assign(replace(WHOLE, variants=three), UNITS, step=LAST), minlength=3)
    assert counts.sum() == len(UNITS)
    assert counts / len(UNITS) == pytest.approx([0.5, 0.3, 0.2], abs=4 * (0.25 / len(UNITS)) ** 0.5)


def test_layers_and_experiments_are_independent():
    half = replace(WHOLE.ramp, steps=(0.25,))
    one = assign(replace(WHOLE, ramp=half), UNITS, step=0)
    other_layer = replace(WHOLE, name="badge", layer=TrafficLayer("badge"), ramp=half)
    same_units = replace(WHOLE, name="badge", ramp=half)
    table = np.zeros((3, 3), int)
    np.add.at(table, (one + 1, assign(other_layer, UNITS, step=0) + 1), 1)
    assert chi2_contingency(table).pvalue > 0.01
    again = assign(same_units, UNITS, step=0)
    assert np.array_equal(one >= 0, again >= 0)
    both = one >= 0
    assert chi2_contingency(np.histogram2d(one[both], again[both], bins=2)[0]).pvalue > 0.01


def test_a_rising_ramp_only_adds_units_and_keeps_the_ratio():
    steps = [assign(WHOLE, UNITS, step=step) for step in range(LAST + 1)]
    for earlier, later in pairwise(steps):
        assert np.array_equal(later[earlier >= 0], earlier[earlier >= 0])
        assert (later >= 0).sum() > (earlier >= 0).sum()
    treated = [np.mean(step == 1) for step in steps]
    assert treated == pytest.approx(WHOLE.ramp.steps, abs=4 * (0.25 / len(UNITS)) ** 0.5)


def test_experiments_of_one_layer_exclude_each_other_and_holdouts_are_nested():
    parts = [TrafficLayer(low=0.0, high=0.3), TrafficLayer(low=0.3, high=1.0)]
    lower, upper = (assign(replace(WHOLE, name=f"e{i}", layer=part), UNITS, step=LAST) for i, part in enumerate(parts))
    assert not ((lower >= 0) & (upper >= 0)).any()
    assert ((lower >= 0) | (upper >= 0)).all()
    small, large = (held_out(replace(WHOLE, holdout=share), UNITS) for share in (0.05, 0.1))
    assert large[small].all()
    assert small.mean() == pytest.approx(0.05, abs=0.01)
    assert (assign(replace(WHOLE, holdout=0.1), UNITS, step=LAST)[large] == -1).all()


def test_a_slate_in_several_experiments_says_its_variant_in_each():
    cells = exposure_cells({"weights": "more_clicks", "badge": "control"})
    assert cells == {"experiment": "badge;weights", "variant": "control;more_clicks"}
    assert exposed_variants(**cells) == {"badge": "control", "weights": "more_clicks"}
    assert exposure_cells({}) == exposed_variants(None, None) == {}
    kind = pa.dictionary(pa.int32(), pa.string())
    slates = pa.table(
        {
            "experiment": pa.array(["badge;weights", None, "policy 0123", "weights"], kind),
            "variant": pa.array(["control;more_clicks", None, "in force", "control"], kind),
        }
    )
    assert variant_column(slates, "weights").tolist() == ["more_clicks", None, None, "control"]
    assert variant_column(slates.slice(1, 1), "weights").tolist() == [None]


def test_metrics_are_those_of_the_table():
    assert ExperimentMetrics("ctr", 0.01, also=("ctr", "gmv_per_user")).names == ("ctr", "gmv_per_user")
