"""Going on from an earlier run: what is refused, and what a run that goes on knows."""

from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pytest

from features.encoder import Encoder
from jobs.config import PeriodsConfig, RunConfig
from jobs.data import kept
from jobs.earlier_run import earlier_run, encoder_of, grown_encoder, not_learned, refuse_other_data
from jobs.run import STAGES
from jobs.run_folder import RunFolder, RunFolderError
from marketplace.splits import periods
from value_model.rankers.config import NetworkConfig

pytestmark = pytest.mark.xdist_group("run")  # one process makes the run


def test_a_run_goes_on_from_what_is_trained_and_of_its_shape(run_folder, tmp_path):
    config = replace(RunFolder.open(run_folder).config, start=str(run_folder))
    assert earlier_run(replace(config, start="")) is None
    assert earlier_run(replace(config, ranker=replace(config.ranker, dropout=0.3))).path == run_folder
    with pytest.raises(RunFolderError, match=r"ranker\.embedding 16 \(now 8\)"):
        earlier_run(replace(config, ranker=replace(config.ranker, embedding=8)))
    with pytest.raises(RunFolderError, match=r"retrieval\.dimensions 64 \(now 32\)"):
        earlier_run(replace(config, retrieval=replace(config.retrieval, dimensions=32)))
    untrained = RunFolder.create(tmp_path / "untrained", RunConfig(ranker=NetworkConfig()))
    with pytest.raises(RunFolderError, match="not trained"):
        earlier_run(replace(config, start=str(untrained.path)))


def test_data_have_to_hold_the_earlier_days_and_new_ones(run_folder):
    run, dataset = RunFolder.open(run_folder), kept(run_folder)
    refuse_other_data(dataset, run)
    later = replace(dataset, slates=dataset.slates.slice(50), feedback=dataset.feedback.slice(500))
    with pytest.raises(RunFolderError, match="Give everything that was recorded"):
        refuse_other_data(later, run)
    with pytest.raises(RunFolderError, match="amounts are in EUR"):
        refuse_other_data(replace(dataset, currency="EUR"), run)
    same = periods(dataset.slates, **asdict(run.config.periods))
    with pytest.raises(RunFolderError, match="nothing is new"):
        not_learned(dataset.slates, same, run, fit="retrieval")
    longer = periods(dataset.slates, test_share=0.1, validation_share=0.15)
    new = not_learned(dataset.slates, longer, run, fit="ranker")
    np.testing.assert_array_equal(new, longer.train & ~same.train)
    other = replace(encoder_of(run), spec=replace(encoder_of(run).spec, features=encoder_of(run).spec.features[1:]))
    with pytest.raises(RunFolderError, match="other features"):
        grown_encoder(other, run)


@pytest.mark.slow
def test_a_run_that_goes_on_knows_the_names_of_the_new_days(run_folder, tmp_path):
    config = RunFolder.open(run_folder).config
    early = replace(config, periods=PeriodsConfig(test_share=0.5))
    for name, one in {"early": early, "now": replace(config, start=str(tmp_path / "early"))}.items():
        run = RunFolder.create(tmp_path / name, one)
        for stage in ("data", "retrieval", "ranker"):
            run.stage(stage, partial(STAGES[stage], run))
    before, now = (encoder_of(RunFolder.open(tmp_path / name)) for name in ("early", "now"))
    for vocabulary, names in before.vocabularies.items():
        assert now.vocabularies[vocabulary][: len(names)] == names
    anew = Encoder.from_json((run_folder / "retrieval" / "encoder.json").read_text())
    assert set(anew.vocabularies["item"]) <= set(now.vocabularies["item"])
    assert len(now.vocabularies["item"]) > len(before.vocabularies["item"])
