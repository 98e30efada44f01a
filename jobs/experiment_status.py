"""Where the experiments of a run stand: ramp step, bounds, the next move and when, and what was decided and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evaluation.experiments.decisions import ExperimentDecision, decisions_file, read_decisions
from evaluation.experiments.effects import Missing
from evaluation.experiments.experiment_folder import EXPERIMENTS, read_folder, stop_variants
from evaluation.experiments.ramp import numbers_of
from jobs.experiment_sections import interleaved_section
from jobs.experiment_watch import ExperimentWatcher, WatchedExperiment
from jobs.tables import print_section
from marketplace.log_place import Place


def status(folder: Path, *, log: Place | None = None, out: Path | None = None) -> int:
    """Print it, and write it to `out` as JSON; 1 where a file of the folder is at fault."""
    now, content = datetime.now(UTC), read_folder(folder / EXPERIMENTS)
    watched = ExperimentWatcher(log or folder / "log.sqlite").look(content, now=now)
    if not watched and not content.faults:
        print(f"{folder / EXPERIMENTS} holds no experiment")
    for one in watched:
        _print(one, now=now)
    for file, fault in content.faults.items():
        print(f"not followed: {file}: {fault}")
    if out is not None:
        states = {one.placed.experiment.name: _plain(one, now=now) for one in watched}
        out.write_text(json.dumps({"experiments": states, "faults": dict(content.faults)}, indent=1) + "\n")
    return int(bool(content.faults))


def stop(folder: Path, name: str, *, variant: str | None, owner: str, reason: str) -> None:
    """Return the units of a variant, or of all that change something, to what is in force.

    Raises ValueError for an experiment or a variant that the folder does not hold, and without owner and reason.
    """
    decision = stop_variants(
        folder / EXPERIMENTS, name, variant=variant, owner=owner, reason=reason, now=datetime.now(UTC)
    )
    print(f"{name}: {', '.join(decision.variants)} stopped; services follow within seconds")


def _print(one: WatchedExperiment, *, now: datetime) -> None:
    placed, experiment = one.placed, one.placed.experiment
    steps = experiment.ramp.steps
    step = f"step {placed.step + 1} of {len(steps)}, a change for {steps[placed.step]:.3g} of the units"
    end = f"until {experiment.end:%Y-%m-%d %H:%M} UTC"
    print(f"{experiment.name} ({experiment.owner}): {placed.phase(now)}, {step}, {end}")
    when = "" if one.move.when is None else f" (not before {one.move.when:%Y-%m-%d %H:%M} UTC)"
    print(f"   next: {one.move.sentence}{when}")
    if one.reading is not None:
        units, shares = one.reading.units, placed.shares(now)
        parts = [(name, f"{units.get(name, 0):,}", f"{share:.3g}") for name, share in shares.items()]
        caption = "share: of the units that may take part, now"
        print_section(("variant", "units so far", "share"), parts, title="who takes part", caption=caption)
        head = ("guardrail", "variant", "change", "at least", "at most", "state")
        print_section(head, list(_guardrails(one)), title="guardrails", caption="bounds hold at every look")
        section = interleaved_section(one.reading)
        if section.rows:
            print_section(section.head, section.rows, title=section.title, caption=section.caption)
    for decision in _decisions(one):
        print(f"   {decision.time:%Y-%m-%d %H:%M:%S} {decision.kind} by {decision.by}: {decision.reason}")


def _guardrails(one: WatchedExperiment) -> Iterator[tuple[str, ...]]:
    assert one.reading is not None
    for row in one.reading.guardrails:
        bounds = [""] * 3
        if not isinstance(row.relative, Missing):
            bounds = [f"{part:+.2%}" for part in (row.relative.value, row.relative.low, row.relative.high)]
        state = str(row.relative) if isinstance(row.relative, Missing) else str(row.state)
        yield (str(row), row.variant, *bounds, state)


def _decisions(one: WatchedExperiment) -> tuple[ExperimentDecision, ...]:
    return read_decisions(decisions_file(one.placed.file.parent, one.placed.experiment.name))


def _plain(one: WatchedExperiment, *, now: datetime) -> dict[str, Any]:
    placed = one.placed
    return {
        "version": placed.experiment.version,
        "phase": placed.phase(now),
        "step": placed.step + 1,
        "shares": placed.shares(now),
        "stopped": placed.state.reasons,
        "next": one.move.sentence,
        "when": None if one.move.when is None else one.move.when.isoformat(),
        "numbers": None if one.reading is None else dict(numbers_of(one.reading)),
    }
