"""What deploy/ holds for Prometheus and Grafana: whole by schema, and every metric that it names is exported."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
import yaml

from evaluation.monitoring.alert import JudgedDay
from evaluation.monitoring.exposition import write_metrics
from serving.metrics import Metrics

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "deploy" / "prometheus_rules.yml").read_text())
BOARD = json.loads((ROOT / "deploy" / "grafana_dashboard.json").read_text())
TARGET = {
    "type": "object",
    "required": ["refId", "expr", "datasource"],
    "properties": {"expr": {"type": "string", "minLength": 1}, "refId": {"type": "string", "pattern": "^[A-Z]$"}},
}
PLACE = {name: {"type": "integer", "minimum": least} for name, least in (("x", 0), ("y", 0), ("w", 1), ("h", 1))}
PANEL = {
    "type": "object",
    "required": ["id", "type", "title", "gridPos", "datasource", "targets", "fieldConfig", "options"],
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "type": {"enum": ["timeseries", "stat", "state-timeline", "table"]},
        "gridPos": {"type": "object", "required": list(PLACE), "properties": PLACE, "additionalProperties": False},
        "targets": {"type": "array", "minItems": 1, "items": TARGET},
    },
}
CLASSIC = {  # Grafana's classic dashboard model, https://grafana.com/docs/grafana/latest/dashboards/build-dashboards
    "type": "object",
    "required": ["uid", "title", "schemaVersion", "version", "time", "templating", "annotations", "panels"],
    "properties": {
        "id": {"type": ["integer", "null"]},
        "uid": {"type": "string", "maxLength": 40},
        "schemaVersion": {"type": "integer", "minimum": 36},
        "time": {"type": "object", "required": ["from", "to"]},
        "templating": {"type": "object", "required": ["list"]},
        "annotations": {"type": "object", "required": ["list"]},
        "panels": {"type": "array", "minItems": 1, "items": PANEL},
    },
}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
RULE = {
    "type": "object",
    "required": ["alert", "expr", "labels", "annotations"],
    "properties": {
        "alert": {"type": "string", "pattern": r"^[A-Za-z]\w*$"},
        "expr": {"type": "string"},
        "for": {"type": "string", "pattern": r"^\d+[smhd]$"},
        "labels": TEXTS,
        "annotations": TEXTS,
    },
    "additionalProperties": False,
}
FIRST = datetime(2025, 1, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> set[str]:
    """Names of the metrics that the service and the watcher write."""
    path = tmp_path_factory.mktemp("metrics") / "metrics.prom"
    write_metrics(JudgedDay(FIRST, {"requests": 5.0}, {"requests": 5.0}, 1, ()), path)
    text = Metrics().render().decode() + path.read_text()
    names = re.findall(r"^# TYPE (\S+) (\w+)", text, re.MULTILINE)
    return {f"{name}_bucket" if kind == "histogram" else name for name, kind in names}


def test_the_dashboard_is_one_that_grafana_reads(exported):
    jsonschema.validate(BOARD, CLASSIC)
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in BOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells), "two panels stand on one place"
    assert max(x for x, _ in cells) < 24
    named = {name for panel in BOARD["panels"] for target in panel["targets"] for name in metrics(target["expr"])}
    assert named - exported == set()


def test_the_rules_are_some_that_prometheus_reads(exported):
    rules = [rule for group in RULES["groups"] for rule in group["rules"]]
    for rule in rules:
        jsonschema.validate(rule, RULE)
    assert {name for rule in rules for name in metrics(rule["expr"])} - exported == set()


def metrics(expression: str) -> list[str]:
    return re.findall(r"value_model_\w+", expression)
