"""One small run of the whole loop, made once for every test here; a copy of it and a browser for the notebook's."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from benchmarks.redis_server import redis_server
from jobs.config import RunConfig, VarietyConfig
from jobs.run import run_all
from marketplace.clickhouse.clickhouse_log import ClickhouseLog
from retrieval.config import RetrievalConfig
from value_model.rankers.config import NetworkConfig, TrainingConfig, TreesConfig

# The same examples every time, however long one takes; `--hypothesis-profile=default`, as in `make test-all`, draws
# new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> Path:
    pytest.importorskip("features.keras2")
    folder = tmp_path_factory.mktemp("runs") / "small"
    short = {"retrieval": RetrievalConfig(epochs=2), "training": TrainingConfig(epochs=2), "variety": VarietyConfig(40)}
    short |= {"ranker": NetworkConfig(expert_units=(32, 16)), "trees": TreesConfig(trees=60)}
    return run_all(RunConfig(size="small", **short), folder).path


@pytest.fixture(scope="session")
def clickhouse_address(tmp_path_factory) -> str:
    """An embedded engine holds one folder a process: a test that needs a log of its own adds ?database=NAME."""
    return f"chdb://{tmp_path_factory.mktemp('clickhouse')}"


@pytest.fixture(scope="session")
def shared_clickhouse_log(clickhouse_address):
    log = ClickhouseLog(clickhouse_address)
    yield log
    log.close()


@pytest.fixture
def clickhouse_log(shared_clickhouse_log):
    """An empty log."""
    for name in ("slates", "feedback", "quarantine", "catalogue", "marks", "orders"):
        shared_clickhouse_log.connection.command(f"TRUNCATE TABLE {name}")
    return shared_clickhouse_log


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    """An empty Redis of the tests' own, in memory; database 0 of 16."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (apt-get install redis-server)")
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="module")
def copied_run(request, tmp_path_factory) -> Path:
    """A version is saved into it. VALUE_MODEL_RUN names another run, for prettier pictures."""
    folder = tmp_path_factory.mktemp("browser") / "run"
    source = Path(os.environ.get("VALUE_MODEL_RUN") or request.getfixturevalue("run_folder"))
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("policies", "bundles", "log.sqlite*"))
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from desk_browser import chromium

    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver
