"""What shuffling a mapped column costs: the difference of two AUCs, its interval, and nothing for what is not read."""

from __future__ import annotations

import numpy as np
from ranking_market import SPEC, market
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from features.spec import Group, Kind
from jobs.mapped_worth import auc_difference, mapped_worth, shuffled, worth_lines


class OneColumn:
    """A ranker that reads the first number of both alone."""

    heads = ("ctr",)

    def predict(self, inputs, *, position=None):
        return {"ctr": expit(np.nan_to_num(inputs.cross_numbers[:, 0]))}


def test_the_column_that_a_ranker_reads_is_worth_its_auc_and_others_nothing():
    data = market(np.random.default_rng(0), requests=400).data
    numbers = [feature.name for feature in SPEC.select(Group.CROSS, Kind.NUMBER)]
    read, names = numbers[0], {feature.name for feature in SPEC.features}
    worth = mapped_worth(OneColumn(), data, SPEC, names=names, rng=np.random.default_rng(1))["ctr"]
    assert set(worth) == names
    happened, rows = data.labels["click"] > 0, data.weight > 0
    order = np.random.default_rng(1)
    for feature in SPEC.features:
        moved = shuffled(data.inputs, SPEC, feature, rng=order)
        if feature.name != read:
            assert (worth[feature.name].value, worth[feature.name].low, worth[feature.name].high) == (0, 0, 0)
            continue
        before, after = (OneColumn().predict(inputs)["ctr"][rows] for inputs in (data.inputs, moved))
        expected = roc_auc_score(happened[rows], before) - roc_auc_score(happened[rows], after)
        np.testing.assert_allclose(worth[read].value, expected, rtol=1e-9)
    (line,) = worth_lines({"ctr": worth})
    assert line.startswith(
        f"mapped features, by what the AUC of ctr loses where each is shuffled: {read} {worth[read]}"
    )
    assert "within chance of nothing" in line


def test_shuffling_moves_a_list_as_a_whole_and_nothing_else():
    data = market(np.random.default_rng(0), requests=100).data
    for feature in SPEC.features:
        moved = shuffled(data.inputs, SPEC, feature, rng=np.random.default_rng(2))
        other = [
            name
            for name, values in vars(moved).items()
            if not np.array_equal(values, getattr(data.inputs, name), equal_nan=values.dtype.kind == "f")
        ]
        assert len(other) <= 1
        for name in other:
            before, after = getattr(data.inputs, name), getattr(moved, name)
            np.testing.assert_array_equal(np.sort(before, axis=0), np.sort(after, axis=0))


def test_the_interval_of_a_difference_covers_as_often_as_it_says():
    covered, rng = 0, np.random.default_rng(3)
    truth = 0.7602499 - 0.5  # AUC of N(1, 1) over N(0, 1), and of noise
    for _ in range(200):
        happened = np.arange(600) % 4 == 0
        estimate = auc_difference(rng.normal(size=600) + happened, rng.normal(size=600), happened, np.arange(600))
        covered += estimate.low <= truth <= estimate.high
    assert 0.91 <= covered / 200 <= 0.985
