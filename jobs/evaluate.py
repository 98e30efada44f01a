"""Judge a run on its test period: the metric table against baselines, and a report that people would rather read."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evaluation.compare import Comparison
from evaluation.estimate import Estimate
from evaluation.report import COHORT, build_report, write_report
from evaluation.summary import summary
from features.catalogue import Catalogue
from features.mapped import context_entries
from features.spec import Group, Kind
from features.text.word_vectors import row_products
from jobs.cohorts import newcomers, with_known
from jobs.data import kept
from jobs.defaults import policy_of
from jobs.earlier_run import day, trained_until
from jobs.held_out_recall import kept_recall, recall_lines
from jobs.judged import JUDGED, keep_judged
from jobs.mapped_worth import ROWS, mapped_worth, worth_lines
from jobs.prepare import TrainingRows, prepare
from jobs.run_folder import RunFolder, RunFolderError
from jobs.run_rankers import choice_of, served_ranker
from jobs.streamed_rows import FOLDER
from jobs.tables import print_cohorts, print_comparison
from jobs.train_ranker import held_out
from jobs.value_slates import value_slates
from marketplace.dataset import Dataset
from marketplace.heads import Labels
from marketplace.prospects import TOP, short_lists
from marketplace.slate_columns import flat, request_of_rows, to_numpy
from value_model.rankers.ranker import RankingData


def evaluate(run: RunFolder) -> None:
    """Write evaluation/: metrics.json, report.html and plots; print the table."""
    dataset, folder = kept(run.path), run.part("evaluation")
    prepared = prepare(run) if run.heads else None
    if prepared is None:
        print("   no head to judge: recall of what was held out, above, is what the data can tell")
        return
    refuse_other_periods(run, prepared)
    test = prepared.period.test
    of_test = prepared.rows(test)
    slates = prepared.slates.filter(pa.array(test))
    data = judgeable(prepared.part(test))
    choice = choice_of(run)
    models = {name: held_out(run, name) for name in choice.objective}
    policy = policy_of(dataset, run.config, heads=run.heads)
    features = data.inputs.numbers(prepared.encoder.spec)
    valued = {name: value_slates(dataset, slates, heads, policy, features=features) for name, heads in models.items()}
    pq.write_table(valued[choice.served], folder / "slates.parquet", compression="zstd")
    assert prepared.labels is not None
    pq.write_table(prepared.labels.filter(pa.array(of_test)), folder / "labels.parquet")
    models = {name: dict(heads) | {"value": flat(valued[name], "value").to_numpy()} for name, heads in models.items()}
    new = newcomers(prepared.slates, prepared.period.train)
    cohorts = with_known({name: rows[of_test] for name, rows in new.items()})
    keep_judged(folder / JUDGED, data.labels, counted=data.weight > 0, cohorts=cohorts)
    baselines = {"popularity": popularity(prepared, test)} | word_match(dataset, slates)
    short = short_lists(data.weight > 0, prepared.offsets_of(test), k=TOP)
    worth = tuple(worth_lines(_mapped_worth(run, prepared, context_entries(dataset))))
    recalled = recall_lines(kept_recall(run.path / "retrieval"), goal="positive")
    report = build_report(
        models | baselines | as_recorded(data.position),
        data.labels,
        prepared.offsets_of(test),
        title=f"Value model on {dataset.name}",
        baseline=choice.served,
        rng=np.random.default_rng(run.config.seed),
        currency=dataset.currency,
        position=data.position if data.position.any() else None,
        slices={"surface": to_numpy(slates["surface"])},
        cohorts=cohorts,
        facts=facts(run, prepared),
        shopper=to_numpy(slates["user_id"]),
        notes=(*dataset.notes, f"{choice}.", *worth, *short, *recalled),
        k=TOP,
        where=data.weight > 0,
    )
    lines = summary(
        report.comparison,
        report.slices["surface"],
        ranked=ranked(slates, data.labels),
        ahead={name: share_of(gap, choice.objective[name].value) for name, gap in choice.behind.items()},
        policy=f"the policy {policy.name}",
        currency=dataset.currency,
        k=TOP,
        cohorts=report.slices.get(COHORT, {}),
        warnings=short,
    )
    page = write_report(replace(report, summary=lines), folder)
    (folder / "metrics.json").write_text(json.dumps(as_json(report.comparison), indent=1) + "\n")
    print_comparison(report.comparison)
    print_cohorts(report.slices.get(COHORT, {}))
    print(*(f"   {line}" for line in (*worth, *lines, f"report: {page}")), sep="\n")


def _mapped_worth(run: RunFolder, prepared: TrainingRows, context: Collection[str]) -> dict[str, dict[str, Estimate]]:
    """Of what the served ranker reads of the mapping, on test requests of about ROWS rows; none where it reads none."""
    spec = prepared.encoder.spec
    mapped = [feature.name for feature in spec.mapped()]
    if not mapped:
        return {}
    rng = np.random.default_rng(run.config.seed)
    requests = rng.permutation(np.flatnonzero(prepared.period.test))
    rows = np.cumsum(np.diff(prepared.offsets)[requests])
    some = np.zeros(len(prepared.period.test), bool)
    some[requests[: np.searchsorted(rows, ROWS) + 1]] = True
    return mapped_worth(served_ranker(run)[0], prepared.part(some), spec, names={*mapped, *context}, rng=rng)


def refuse_other_periods(run: RunFolder, prepared: TrainingRows) -> None:
    """RunFolderError where the ranker's rows were cut into periods at other times than the run's."""
    if (learned := trained_until(run, "ranker")) != prepared.period.validation_from:
        raise RunFolderError(
            f"the ranker of {run.path} learned until {day(learned)}, the training period of its data ends on "
            f"{day(prepared.period.validation_from)}: write {FOLDER} again, or remove it, and train the ranker again."
        )


def judgeable(data: RankingData) -> RankingData:
    """Without the labels that no row knows yet: what takes weeks to come cannot be judged on the newest days."""
    unknown = [name for name, label in data.labels.items() if np.isnan(label).all()]
    if unknown:
        print(f"   not judged, for want of a settled row in the test period: {', '.join(unknown)}")
    return replace(data, labels={name: label for name, label in data.labels.items() if name not in unknown})


def ranked(slates: pa.Table, labels: Labels) -> str:
    """SLATE rows and their labels in words: how many requests of whom, where and when, and what came of them."""
    names = {name: len(slates[name].unique()) for name in ("user_id", "surface")}
    first, last = (str(moment.as_py().date()) for moment in pc.min_max(slates["time"]).values())
    events = (f"{np.nansum(labels[event]):,.0f} {event}s" for event in ("click", "order") if event in labels)
    came = " and ".join(events) or "no click and no order"
    whose = f"{names['user_id']:,} shoppers on {names['surface']} surface{'s' if names['surface'] > 1 else ''}"
    return f"{len(slates):,} requests of {whose}, {first} to {last}, of which came {came}"


def share_of(gap: Estimate, whole: float) -> Estimate:
    """A difference as a share of what it is counted from."""
    return replace(gap, value=gap.value / whole, low=gap.low / whole, high=gap.high / whole)


def popularity(prepared: TrainingRows, test: np.ndarray) -> dict[str, np.ndarray]:
    """The baseline that knows nobody: items by their decayed touches before the request."""
    names = [feature.name for feature in prepared.encoder.spec.select(Group.CROSS, Kind.NUMBER)]
    touches = prepared.part(test).inputs.cross_numbers[:, names.index("popularity")]
    return {"value": touches.astype(np.float64)}


def word_match(dataset: Dataset, slates: pa.Table) -> dict[str, dict[str, np.ndarray]]:
    """The baseline that reads names alone: cosine of an item's words with the query's, or the page item's; no other
    surface has words. None where no request of SLATE rows has any."""
    catalogue = Catalogue.of(dataset)
    request, item = request_of_rows(slates), catalogue.rows(flat(slates, "item_id"))
    page = catalogue.rows(slates["page_item_id"].cast(pa.string()))[request]
    cosine = np.zeros(len(item), np.float64)
    known = np.flatnonzero((page >= 0) & (item >= 0))
    cosine[known] = catalogue.word_vectors.cosine(page[known], item[known])
    searched = np.flatnonzero(slates["query"].is_valid().to_numpy()[request] & (item >= 0))
    queries = catalogue.word_vectors.of_texts(slates["query"].combine_chunks())
    cosine[searched] = row_products(queries[request[searched]], catalogue.word_vectors.rows[item[searched]])
    return {"word match": {"value": cosine}} if cosine.any() else {}


def as_recorded(position: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """The order in which the items were shown, as a ranker; none where no place was recorded. `position` [N], 0 = not.

    It stands in the places whose clicks it is judged on, so that it is flattered by every position effect.
    """
    if not position.any():
        return {}
    place = np.where(position > 0, position, position.max() + 1)
    return {"as recorded": {"value": -place.astype(np.float64)}}


def facts(run: RunFolder, prepared: TrainingRows) -> dict[str, str]:
    """What the report says of itself."""
    period = prepared.period
    counts = {"training": period.train, "validation": period.validation, "test": period.test}
    requests = {f"{name} requests": f"{int(mask.sum()):,}" for name, mask in counts.items()}
    return {"data": run.config.data, "seed": str(run.config.seed), "run": run.path.name, **requests}


def as_json(comparison: Comparison) -> dict[str, dict[str, dict[str, float]]]:
    """model -> metric -> estimate, and the differences against the baseline; NaN is left out."""
    return {
        model: {name: asdict(metric) for name, metric in metrics.items() if not np.isnan(metric.value)}
        for model, metrics in comparison.metrics.items()
    }
