"""The loop closes: a run learns from the log of a service, with features as they were served."""

import numpy as np
import pytest

from jobs.config import RunConfig
from jobs.data import kept, logged, market
from jobs.run import run_all
from jobs.wishes import features_of
from marketplace.slates import numeric_features
from marketplace.sqlite_log import SqliteLog
from serving.bundle import build_engine, load_bundle
from serving.request import Request

pytestmark = pytest.mark.xdist_group("run")

REQUESTS, SHOWN = 300, 10
NAMES = ("request_id", "time", "surface", "user_id", "session_id", "query", "page_merchant_id", "page_item_id")


@pytest.fixture(scope="module")
def log_path(run_folder):
    """A service's log of fresh requests of the simulated market, with what its shoppers then did."""
    path = run_folder / "served.sqlite"
    simulation = market("small", seed=7)
    rng = np.random.default_rng(0)
    requests = simulation.draw_requests(rng, count=2 * REQUESTS, window=(42, 49))
    anywhere = np.flatnonzero(requests.page_merchant < 0)[:REQUESTS]  # a merchant may have nothing to sell
    requests = requests.take(anywhere)
    table = simulation.request_table(requests)
    log = SqliteLog(path)
    engine = build_engine(load_bundle(run_folder / "bundle"), log=log)
    for row in table.to_pylist():
        engine.rank(Request(**{name: row[name] for name in NAMES}, context=dict(row["context"]), k=SHOWN))
    ranked = simulation.ranked_items(log.slates(), table["request_id"])
    engine.record(simulation.draw_feedback(requests, ranked, rng, prefix="t"))
    log.close()
    return path


def test_the_log_is_a_data_set_over_the_bundles_catalogue(run_folder, log_path):
    dataset = logged(log_path)
    assert len(dataset.slates) == REQUESTS
    assert dataset.has_impressions
    assert dataset.items.equals(kept(run_folder).items)


def test_features_are_those_that_were_served(log_path, run_folder, monkeypatch):
    dataset = logged(log_path)
    spec = load_bundle(run_folder / "bundle").encoder.spec
    monkeypatch.delattr("jobs.wishes.backfill")  # nothing is computed again
    frame = features_of(dataset, dataset.slates, spec)
    served = numeric_features(dataset.slates, "popularity").values
    np.testing.assert_array_equal(frame.columns["popularity"], served)


def test_a_run_trains_on_the_log(log_path, tmp_path):
    run = run_all(RunConfig(data=str(log_path), retrieval_epochs=1, ranker_epochs=1), tmp_path / "run")
    assert load_bundle(run.path / "bundle").manifest.facts["items"] == len(logged(log_path).items)


def test_a_log_with_too_little_is_refused(run_folder):
    path = run_folder / "empty.sqlite"
    SqliteLog(path).close()
    with pytest.raises(ValueError, match="holds 0 slates; a run needs 100 or more"):
        logged(path)
