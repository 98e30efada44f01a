"""Trees that are grown again before they are served: of which days, and by what they are judged and calibrated."""

import json
from dataclasses import replace

import numpy as np
import pytest

from jobs.prepare import prepare
from jobs.run_folder import RunFolder
from jobs.run_rankers import choice_of
from jobs.train_ranker import train_ranker
from value_model.rankers.opinion_pool import OpinionPool
from value_model.rankers.trees import Trees

pytestmark = pytest.mark.xdist_group("run")  # one process makes the run


def test_trees_are_chosen_without_the_validation_period_and_served_with_it(run_folder, tmp_path):
    before = RunFolder.open(run_folder)
    config = replace(before.config, trees=replace(before.config.trees, refit=True))
    run = RunFolder.create(tmp_path / "refit", config)
    for stage in ("data", "retrieval"):
        run.take_over(before, stage)
    train_ranker(run, fitted=run_folder / "ranker")
    assert choice_of(run).to_json() == choice_of(before).to_json()
    for kept in ("pool.json", "calibration_pool.json", "calibration_lightgbm.json"):
        ours, theirs = (json.loads((one.path / "ranker" / kept).read_text()) for one in (run, before))
        assert ours == theirs, kept
    rows = prepare(run)
    both = rows.part(rows.period.train | rows.period.validation)
    expected = Trees.fit(both, spec=rows.encoder.spec, config=config.trees)
    some = rows.part(rows.period.test).inputs
    served = Trees.load(run.path / "ranker" / "lightgbm")
    pool = OpinionPool.load(run.path / "ranker")
    for head, values in expected.predict(some).items():
        np.testing.assert_array_equal(served.predict(some)[head], values)
        np.testing.assert_array_equal(pool.members["lightgbm"].predict(some)[head], values)
    chosen = Trees.load(run_folder / "ranker" / "lightgbm")
    assert not np.array_equal(chosen.predict(some)["ctr"], served.predict(some)["ctr"])
