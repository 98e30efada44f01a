"""Say what is wrong with an experiment before anyone is harmed: its file, its policies, its neighbours, its power."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from evaluation.experiments.checks import check_experiment as check_file
from evaluation.experiments.experiment_file import AssignmentUnit, Experiment
from evaluation.experiments.experiment_folder import EXPERIMENTS, read_folder
from evaluation.experiments.metrics import EXPERIMENT_METRICS
from evaluation.experiments.plan import plan_experiment
from evaluation.experiments.sums import UNITS
from evaluation.experiments.unit_table import request_columns, unit_keys
from jobs.check import print_findings
from jobs.read_experiment import joined_log
from marketplace.finding import DataError, Finding, Severity, nearest
from marketplace.memory_log import MemoryLog
from marketplace.toml_model import as_model
from marketplace.toml_text import TomlText, parse_toml
from serving.arms import variant_policy
from serving.bundle import build_engine, load_bundle
from serving.engine import RankingEngine
from serving.trial_requests import try_out
from value_model.formula import PolicyError, ValuePolicy, shipped_policies
from value_model.policy_checks import check_policy as check_value_policy

MERCHANT_RULES = ("newcomers", "new_items")  # of a policy's [slate]: they move exposure to some merchants
LACKING = 0.05  # share of requests without their unit that deserves a warning


def check_experiment(file: Path, run: Path | None) -> int:
    """Print the findings on an experiment's file, tried in the engine, on the log and beside the others of `run`."""
    try:
        text = parse_toml(file.read_bytes(), file=str(file))
        experiment = as_model(text, Experiment)
    except DataError as error:
        return print_findings(error.findings, of=file)
    others = [] if run is None else _others(run, file)
    findings = [*check_file(experiment, text, others=others, now=datetime.now(UTC))]
    findings += _policies(experiment, text, file.parent)
    if run is not None:
        findings += [*_served(experiment, text, file, run), *log_findings(experiment, text, run)]
    return print_findings(findings, of=file)


def _others(run: Path, file: Path) -> list[Experiment]:
    """The run's experiments that are not over, beside that of `file`."""
    placed = read_folder(run / EXPERIMENTS).experiments
    return [one.experiment for one in placed if not one.over and one.file.resolve() != file.resolve()]


def _policies(experiment: Experiment, text: TomlText, folder: Path) -> Iterator[Finding]:
    """What check-policy says of the variants' policies, and of those that a unit of demand cannot judge."""
    for number, variant in enumerate(experiment.variants):
        where = text.where("variants", number, "policy")
        if variant.policy is None:
            continue
        try:
            policy = variant_policy(folder / variant.policy)
        except PolicyError as error:
            yield from error.findings
            continue
        except OSError:
            files = sorted(str(path.relative_to(folder)) for path in folder.glob("*/*.toml"))
            fix = nearest(variant.policy, [*files, *shipped_policies()])
            reason = f"{variant.name} names {variant.policy!r}, no file or shipped policy."
            yield Finding("policy", where, reason, fix)
            continue
        yield from check_value_policy(policy)
        if experiment.unit in (AssignmentUnit.USER, AssignmentUnit.SESSION) and (rules := _merchant_rules(policy)):
            reason = (
                f"{variant.name} has {', '.join(rules)}, which moves exposure among merchants: what they win there "
                "they lose with the control's shoppers, so that the difference is no effect of showing it to all."
            )
            fix = 'Write unit = "city_time", or read merchants\' metrics with that in mind.'
            yield Finding("interference", where, reason, fix, Severity.WARNING)


def _merchant_rules(policy: ValuePolicy) -> list[str]:
    section = policy.slate
    names = [] if section is None else [rule.key for rule in section.rules if rule.key in MERCHANT_RULES]
    return [*names, *(["exposure"] if section is not None and section.exposure else [])]


def _served(experiment: Experiment, text: TomlText, file: Path, run: Path) -> Iterator[Finding]:
    """What the engine of the run's bundle refuses: it builds every variant, and answers trial requests under it."""
    bundle = load_bundle((run / "bundle").resolve())
    with TemporaryDirectory() as folder:
        link_alone(file, experiment, Path(folder))
        engine = build_engine(bundle, log=MemoryLog(), experiments=Path(folder), variants=_tried)
    if fault := engine.state.experiments.faults.get(file.name, "").replace(f"{folder}/", f"{file.parent}/"):
        yield Finding("served", text.where(), f"the engine does not follow it: {fault.rstrip('.')}.", "Mend that.")


def link_alone(file: Path, experiment: Experiment, folder: Path) -> None:
    """Link an experiment's file and what it names into `folder`: whatever else lies beside it is none of its own."""
    named = [path for variant in experiment.variants for path in (variant.policy, variant.surfaces) if path]
    for name in {file.name, *named}:
        if (file.parent / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to((file.parent / name).resolve())


def _tried(folder: Path) -> RankingEngine:
    """The engine of a variant's bundle, after trial requests; raises BundleError."""
    engine = build_engine(load_bundle(folder), log=MemoryLog())
    try_out(engine)
    return engine


def log_findings(experiment: Experiment, text: TomlText, run: Path) -> Iterator[Finding]:
    """What the log of `run`, or its data, says: metrics it does not record, requests without a unit, days too few."""
    plan, problem, joined = None, "", None
    for source in filter(Path.exists, (run / "log.sqlite", run / "data")):  # a young service's log tells too little
        try:
            joined = joined_log(source if source.suffix else run)
            plan = plan_experiment(joined, experiment)
            break
        except ValueError as error:
            problem = str(error).rstrip(".")
    if joined is not None:
        yield from _unrecorded(experiment, text, request_columns(joined))
        yield from _without_unit(experiment, text, float((unit_keys(joined.slates, experiment) < 0).mean()))
    if plan is None:
        reason = f"its power is not known: {problem or f'{run} holds neither a log nor data'}."
        yield Finding("power", text.where("days"), reason, "Serve for some weeks first.", Severity.WARNING)
    elif not plan.enough:
        effect = experiment.metrics.minimum_effect
        days = f"days = {plan.days}" if plan.days is not None else f"a minimum effect of {plan.in_time:.2g} or more"
        reason = (
            f"{experiment.days:g} days find a change of {plan.in_time:.1%} of {experiment.metrics.primary} with "
            f"{experiment.stop.power:.0%} power, not the {effect:.1%} that it is about."
        )
        yield Finding("power", text.where("days"), reason, f"Write {days}.")


def _unrecorded(experiment: Experiment, text: TomlText, columns: Mapping[str, np.ndarray]) -> Iterator[Finding]:
    """Metrics that would be missing, were the service's log as this one."""
    known = {UNITS, "sessions", *(name for name, column in columns.items() if column.any())}
    for name in dict.fromkeys((*experiment.metrics.names, *(one.metric for one in experiment.guardrails))):
        metric = EXPERIMENT_METRICS[name]
        if lacking := [part for part in (metric.numerator, metric.denominator) if part not in known]:
            reason = f"the log records no {lacking[0].replace('_', ' ')}: {name} could not be computed."
            fix = "Choose metrics that are recorded; a guardrail that is missing holds the ramp."
            yield Finding("metrics", text.where("metrics"), reason, fix, Severity.WARNING)


def _without_unit(experiment: Experiment, text: TomlText, lacking: float) -> Iterator[Finding]:
    if lacking > LACKING:
        reason = f"{lacking:.0%} of the logged requests have no {experiment.unit}: they would be in no variant."
        fix = 'Send it with every request, or write unit = "user".'
        yield Finding("unit", text.where("unit"), reason, fix, Severity.WARNING)
