"""The capacity table of docs/cluster.md, by hand from the result files."""

import json
import math
from pathlib import Path

import pytest

from benchmarks import capacity
from benchmarks.capacity import LOADS, Load, lines, needs

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def measured(file: str, name: str) -> float:
    rows = json.loads((RESULTS / f"{file}.json").read_text())["measures"]
    return next(row["value"] for row in rows if row["name"] == name)


def test_the_arithmetic_is_that_of_the_results():
    """A million shoppers, 10^8 candidates scored a day, and a hundred times that."""
    of_one = measured("overload", "overload: answered") / 60
    for load, requests in zip(LOADS, (200_000, 20_000_000), strict=True):
        values = {need.what: need.value for need in needs(load)}
        assert values["requests"] == requests
        assert values["requests, busiest"] == pytest.approx(4 * requests / 24 / 3600)
        assert values["service: workers, one core each"] == math.ceil(4 * requests / 86_400 / (0.6 * of_one))
        assert values["log on the machines"] == pytest.approx(requests * measured("log", "bytes a slate") / 1e9)
        assert values["ClickHouse: disk"] == pytest.approx(
            requests * 50 * measured("clickhouse", "bytes an item on disk") / 1e9
        )
        consumed = measured("kafka", "slates consumed into an SQLite log, median")
        assert values["Kafka: consumers"] == math.ceil(4 * requests / 86_400 / (0.6 * consumed))
        of_a_run = measured("whole_run", "whole run: time") / measured("whole_run", "impressions")
        assert values["training on one day"] == pytest.approx(15 * requests * of_a_run / 3600)


def test_a_figure_without_its_source_is_an_error(monkeypatch):
    assert all(str(source) in "\n".join(lines()) for load in LOADS for need in needs(load) for source in need.sources)
    monkeypatch.setattr(capacity, "ANSWERED", capacity.ResultMeasure("overload", "no such measure"))
    with pytest.raises(KeyError, match=r"overload\.json has no measure 'no such measure'"):
        list(needs(Load()))
