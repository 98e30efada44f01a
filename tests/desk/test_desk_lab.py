"""The notebook in JupyterLab itself: opened, all cells run, driven in a real Chromium; without network or token."""

import json
import shutil
import sys

import pytest
from desk_browser import NOTEBOOK, Looking, dragged_and_saved, searched_and_loaded, served

from value_model.formula import load_policy

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("run")]

QUIET = {"fetchNews": "false", "checkForUpdates": False}
OPEN = ("--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--IdentityProvider.token=")
NO_NEWS = "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate"


@pytest.fixture(scope="module")
def looking(browser, copied_run, tmp_path_factory):
    """On a copy of the notebook, which Lab writes its outputs into."""
    pytest.importorskip("jupyterlab")
    home = tmp_path_factory.mktemp("lab")
    settings = home / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(QUIET))
    (home / "work").mkdir()
    shutil.copy(NOTEBOOK, home / "work")
    command = (sys.executable, "-m", "jupyterlab", *OPEN, NO_NEWS, f"--ServerApp.root_dir={home / 'work'}")
    environment = {"VALUE_MODEL_RUN": str(copied_run), "JUPYTER_CONFIG_DIR": str(home / "config")}
    with served(command, environment, log=home / "log") as address:
        browser.get(f"{address}lab/tree/{NOTEBOOK.name}")
        looking = Looking(browser)
        looking.one(".jp-Notebook .jp-CodeCell")
        looking.one(
            ".jp-Notebook-ExecutionIndicator[data-status='idle']"
        )  # cells run before there is a kernel are lost
        looking.named(".lm-MenuBar-item", "Run").click()
        looking.named(".lm-Menu-item", "Run All Cells").click()
        looking.one(".desk-slates .pair")
        looking.one(".desk-w_click .noUi-handle")
        yield looking


def test_a_slider_is_dragged_the_table_changes_and_a_version_is_saved(looking, copied_run):
    dragged_and_saved(looking, copied_run, ("tuning_lab", "tuning_lab_saved"))
    assert load_policy(copied_run / "policies" / "0002.toml").weight["w_click"].owner == "growth"


def test_a_point_of_the_front_is_clicked_and_loaded(looking):
    searched_and_loaded(looking, scope="everywhere", picture="tuning_lab_front")


def test_the_page_made_no_error_of_its_own_and_asked_nobody_else(looking):
    assert looking.errors() == []
    addresses = looking.driver.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert len(addresses) > 10
    assert [name for name in addresses if not name.startswith(("http://127.0.0.1:", "blob:", "data:"))] == []
