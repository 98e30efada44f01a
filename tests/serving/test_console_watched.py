"""Experiments and monitoring in the console: what runs and departs is seen, and an experiment is stopped."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from evaluation.experiments.decisions import read_decisions
from evaluation.monitoring.history import History
from jobs.example_experiment import FILE
from jobs.experiment_watch import ExperimentWatcher
from serving.console.board import Board
from serving.console.desk_line import DeskCall
from serving.console.experiments_part import ExperimentsPart
from serving.console.messages import Language
from serving.console.monitoring_part import MonitoringPart
from serving.console.pages import PageView

NOW = datetime(2025, 1, 25, tzinfo=UTC)


@pytest.fixture
def ask(tmp_path):
    watcher = ExperimentWatcher(tmp_path / "log.sqlite")
    parts = {
        "experiments": ExperimentsPart(
            tmp_path, look_at=lambda content, now: watcher.look(content, now=now), clock=lambda: NOW
        ),
        "monitoring": MonitoringPart(tmp_path),
    }

    def answer(part, action="", language=Language.ENGLISH, **form):
        return Board(parts).answer(DeskCall(part, action, PageView(language, part, "ops"), "p", form, True))

    return answer


def test_an_experiment_is_seen_read_and_stopped_with_who_and_why(ask, tmp_path):
    assert "no experiment" in ask("experiments").html
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "clearer_pictures.toml").write_text(FILE)
    (folder / "broken.toml").write_text("name =")
    page = ask("experiments", language=Language.ARABIC).html
    for part in ("clearer_pictures", "جارية", "broken.toml", "clear 1 %"):
        assert part in page
    ask("experiments", bounds="read")
    while "being read" in (page := ask("experiments").html):
        pass
    assert "held: no slate is logged yet" in page
    stop = {"what": "clearer_pictures", "owner": "growth", "reason": "Complaints."}
    refused = ask("experiments", "stop", **stop | {"owner": " "})
    assert (refused.status, "say who stops it" in refused.html) == (409, True)
    assert ask("experiments", "stop", **stop | {"what": "clearer_pictures:none"}).status == 409
    done = ask("experiments", "stop", **stop)
    assert (done.status, "clear stopped" in done.html) == (200, True)
    (decision,) = read_decisions(folder / "clearer_pictures.decisions.json")
    assert (decision.by, decision.reason, decision.variants) == ("growth", "Complaints.", ("clear",))
    assert "Complaints." in ask("experiments").html


def test_the_last_judged_day_is_seen_with_its_alerts(ask, tmp_path):
    assert "No day was judged yet" in ask("monitoring").html
    history = History()
    history.name_all(["requests", "rate.click", "gini"])
    for day in range(3):
        values = np.array([np.log(1000 + day), np.log(0.1), 0.3])
        kept = np.array([True, day < 2, True])
        errors = np.array([0.0, np.log(0.5), np.nan])
        time = datetime(2025, 1, 20, tzinfo=UTC) + timedelta(days=day)
        history.add(time, values, errors, np.zeros(3), kept=kept, counts={}, usual=True)
    history.open_since = {"clicks_lost": time}
    (tmp_path / "watch").mkdir()
    history.write(tmp_path / "watch" / "history.json")
    alert = {"day": "2025-01-22", "cause": "clicks_lost", "meaning": "<b>", "runbook": "Look.", "figures": []}
    (tmp_path / "alerts.jsonl").write_text(json.dumps(alert) + "\n")
    page = ask("monitoring").html
    for part in ("2025-01-22", "clicks_lost", "1002", "0.1", "0.2", "departs", "<polyline", "&lt;b&gt;"):
        assert part in page
    assert ask("monitoring", "anything").status == 409
