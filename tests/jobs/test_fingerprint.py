"""A run whose data have changed is done again; one whose data have not is kept."""

import pytest

import jobs.run
from jobs.config import RunConfig
from jobs.fingerprint import keep_fingerprint

MAPPING = """
name = "shop"
currency = "SAR"
items = { file = "products.csv", columns = { item_id = "sku", merchant_id = "seller", price = "price" } }
feedback = { file = "events.csv", columns = { event = "kind", time = "at", user_id = "who", item_id = "sku" } }
"""


@pytest.fixture
def stages(monkeypatch):
    """The stages that were done, by name; they only keep the fingerprint."""
    done = []

    def data(run):
        keep_fingerprint(run)
        done.append("data")

    monkeypatch.setattr(jobs.run, "STAGES", {"data": data, "ranker": lambda run: done.append("ranker")})
    return done


def test_a_run_is_done_again_when_a_file_changes_and_says_so(tmp_path, stages, capsys):
    for name, text in {"mapping.toml": MAPPING, "products.csv": "sku\n", "events.csv": "kind\n"}.items():
        (tmp_path / name).write_text(text)
    config, folder = RunConfig(data=str(tmp_path / "mapping.toml")), tmp_path / "run"
    jobs.run.run_all(config, folder)
    jobs.run.run_all(config, folder)
    assert stages == ["data", "ranker"]
    assert "data: done before, kept" in capsys.readouterr().out
    checkpoint = folder / "ranker" / "checkpoint.npz"
    checkpoint.parent.mkdir()
    checkpoint.write_text("of the former data")
    (tmp_path / "events.csv").write_text("kind\nclick\n")
    jobs.run.run_all(config, folder)
    assert stages == ["data", "ranker"] * 2
    assert not checkpoint.exists()
    assert f"changed since: {tmp_path / 'events.csv'}; nothing is kept" in capsys.readouterr().out


def test_data_that_do_not_change_have_no_fingerprint(tmp_path, stages):
    jobs.run.run_all(RunConfig(), tmp_path)
    jobs.run.run_all(RunConfig(), tmp_path)
    assert stages == ["data", "ranker"]
