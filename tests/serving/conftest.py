"""One small bundle, exported once for every test here; one process runs all that read it."""

import shutil
from pathlib import Path

import pytest

READ = {"bundle_folder", "market", "policies"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents and READ & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group("bundle"))


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory):
    """A whole bundle of a small simulated market, exported once; not to be written to."""
    from market import trained_market

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
def market():
    """What the bundle was exported from."""
    from market import trained_market

    return trained_market()


@pytest.fixture
def policies(bundle_folder, tmp_path):
    """The policies in force of a service's folder without requests: bundles/1, and the link to it."""
    from serving.manifest import point_current
    from serving.policies_in_force import PoliciesInForce

    shutil.copytree(bundle_folder, tmp_path / "bundles" / "1")
    point_current(tmp_path / "bundle", tmp_path / "bundles" / "1")
    return PoliciesInForce(tmp_path)
