"""One small bundle, exported once for every test here; one process runs all that read it.

Where TensorFlow is not installed, as in the serving environment, the tests that need it are left out and
VALUE_MODEL_TEST_BUNDLE names a bundle that was exported elsewhere (benchmarks/serving_environment.py).
"""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

READ = {"bundle_folder", "market", "policies", "trained"}
collect_ignore_glob = [] if find_spec("tensorflow") else ["test_export_*.py", "test_tensorflow_*.py", "test_tree_*.py"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents and READ & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group("bundle"))


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory):
    """A whole bundle of a small simulated market, exported once; not to be written to."""
    if exported := os.environ.get("VALUE_MODEL_TEST_BUNDLE"):
        return Path(exported)
    pytest.importorskip("features.keras2")
    from trained_market import trained_market

    from serving.export_bundle import export_bundle

    folder = tmp_path_factory.mktemp("bundles") / "first"
    export_bundle(trained_market(), folder)
    return folder


@pytest.fixture(scope="session")
def bundle(bundle_folder):
    """That bundle, loaded."""
    from serving.bundle import load_bundle

    return load_bundle(bundle_folder)


@pytest.fixture(scope="session")
def savedmodel_scorer(bundle):
    """Its SavedModel, loaded by TensorFlow."""
    from serving.tensorflow_scorer import TensorFlowScorer

    return TensorFlowScorer(bundle.savedmodel)


@pytest.fixture(scope="session")
def market():
    """The market that the bundle was exported for."""
    from market import simulated_market

    return simulated_market()


@pytest.fixture(scope="session")
def trained():
    """What the bundle was exported from."""
    pytest.importorskip("features.keras2")
    from trained_market import trained_market

    return trained_market()


@pytest.fixture
def policies(bundle_folder, tmp_path):
    """The policies in force of a service's folder without requests: bundles/1, and the link to it."""
    from serving.manifest import point_current
    from serving.policies_in_force import PoliciesInForce

    shutil.copytree(bundle_folder, tmp_path / "bundles" / "1")
    point_current(tmp_path / "bundle", tmp_path / "bundles" / "1")
    return PoliciesInForce(tmp_path)
