"""Read an experiment, or plan one, from a service's log or a run's data: the screen, a page and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from evaluation.experiments.conclusion import Conclusion, conclusions
from evaluation.experiments.decisions import decisions_file, read_decisions, state_after
from evaluation.experiments.effects import Missing
from evaluation.experiments.experiment_file import load_experiment
from evaluation.experiments.plan import plan_experiment
from evaluation.experiments.reading import ExperimentReading, course, read_experiment
from jobs.experiment_log import COLUMNS, kept
from jobs.experiment_page import to_html
from jobs.experiment_sections import facts, plan_sections, plan_words, reading_sections
from jobs.tables import print_section
from marketplace.attribution import Attribution, attribute
from marketplace.log_place import Place, home_of, is_log, shown_place
from marketplace.open_log import open_log
from marketplace.slate_columns import to_numpy


def plan(source: Place, file: Path) -> int:
    """Print how long the experiment of `file` takes; 1 where its days do not find its minimum effect."""
    experiment, joined = load_experiment(file), joined_log(source)
    answer = plan_experiment(joined, experiment)
    for line in plan_words(answer):
        print(f"   {line}")
    for section in plan_sections(answer, currency=currency_of(joined)):
        print_section(section.head, section.rows, title=section.title, caption=section.caption)
    return 0 if answer.enough else 1


def read(source: Place, file: Path, *, out: Path | None = None, json_file: Path | None = None) -> int:
    """0; read the experiment of `file` as its log tells it now. Raises ValueError where no slate took part in it."""
    experiment, joined = load_experiment(file), joined_log(source)
    stops = state_after(read_decisions(decisions_file(file.parent, experiment.name))).stops
    reading = read_experiment(joined, experiment, as_of=last_moment(joined), stops=stops)
    if not sum(reading.units.values()):
        raise ValueError(
            f"{shown_place(source)} holds no slate of the experiment {experiment.name!r}: has it begun, is it there?"
        )
    for name, value in facts(experiment).items():
        print(f"   {name}: {value}")
    found = conclusions(reading)
    print(*(f"=> {one}" for one in found), sep="\n")
    currency = currency_of(joined)
    for section in reading_sections(reading, currency=currency):
        print_section(section.head, section.rows, title=section.title, caption=section.caption)
    page = out or home_of(source) / f"{experiment.name}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    curves = course(joined, experiment, as_of=reading.as_of, stops=stops)
    page.write_text(to_html(reading, course=curves, currency=currency), encoding="utf-8")
    if json_file is not None:
        json_file.write_text(json.dumps(to_json(reading, found), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"   page: {page}")
    return 0


def joined_log(source: Place) -> Attribution:
    """The slates of a log, or of a run's data, with what came of them."""
    if is_log(source):
        log = open_log(source)
        slates, feedback = kept(log.slates(columns=COLUMNS)), log.feedback()
        log.close()
    else:
        from marketplace.dataset import load_dataset

        dataset = load_dataset(Path(source) / "data")
        slates, feedback = dataset.slates, dataset.feedback
    if not len(slates):
        raise ValueError(f"{shown_place(source)} holds no slates yet: serve some requests first (`value-model serve`).")
    return attribute(slates, feedback)


def last_moment(joined: Attribution) -> datetime:
    """The last slate's time: the moment as of which the log is read."""
    return datetime.fromtimestamp(int(to_numpy(joined.slates["time"].cast("int64")).max()) / 1e6, UTC)


def currency_of(joined: Attribution) -> str:
    """The log's currency, or all of them with commas: amounts are then missing."""
    return ", ".join(pc.unique(joined.slates["currency"].cast("string")).to_pylist())


def to_json(reading: ExperimentReading, answers: tuple[Conclusion, ...]) -> dict[str, Any]:
    """Every number; one that is missing is null beside its reason."""
    return {
        "experiment": reading.experiment.name,
        "version": reading.experiment.version,
        "as_of": reading.as_of.isoformat(),
        "elapsed": reading.look.elapsed,
        "units": dict(reading.units),
        "conclusions": [{"variant": c.variant, "move": c.move.value, "reason": c.reason} for c in answers],
        "trust": [_plain(asdict(check)) for check in reading.trust],
        "metrics": [
            {"variant": one.variant, "metric": one.metric.name, "p_value": _number(one.p_value)}
            | {name: _estimate(getattr(one, name)) for name in ("control", "treated", "difference", "relative")}
            for one in reading.metrics
        ],
        "guardrails": [
            {"variant": one.variant, "guardrail": str(one), "state": one.state.value}
            | {"relative": _estimate(one.relative)}
            for one in reading.guardrails
        ],
        "segments": [
            {"variant": one.variant, "dimension": one.dimension, "segment": one.segment}
            | {"relative": _estimate(one.relative), "adjusted_p_value": _number(one.p_value)}
            for one in reading.segments
        ],
        "interleaved": [
            {"variant": one.variant, "outcome": one.outcome, "p_value": _number(one.p_value), "assumed": one.assumed}
            | {name: _estimate(getattr(one, name)) for name in ("difference", "relative", "preferred")}
            for one in reading.interleaved
        ],
    }


def _estimate(estimate: Any) -> dict[str, Any]:
    if isinstance(estimate, Missing):
        return {"value": None, "reason": estimate.reason}
    return _plain(asdict(estimate))


def _plain(cells: dict[str, Any]) -> dict[str, Any]:
    return {name: _number(cell) if isinstance(cell, float) else cell for name, cell in cells.items()}


def _number(value: float) -> float | None:
    return value if isfinite(value) else None
