"""Prospects of a data set: which heads it teaches, which metrics mean something, how wide their intervals will be.

A sum of n events has a 95 % interval of about +- 1.96 / sqrt(n) of itself (Poisson), wider where the requests of one
shopper agree; the difference of two rankings, judged on half of the test period, about twice that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketplace.attribution import Attribution, recorded_labels
from marketplace.dataset import Dataset
from marketplace.finding import Finding, Severity, Where
from marketplace.heads import Head, HeadKind, Labels, learned_heads
from marketplace.recorded_draws import follow_from_values, with_propensities
from marketplace.settled import settled_for_all, settled_labels, settled_requests
from marketplace.slate_columns import item_offsets, request_of_rows, shown, to_numpy
from marketplace.splits import TEST_SHARE, VALIDATION_SHARE, periods
from marketplace.treatment import arm_labels

FEWEST = 50  # events below which a head's probabilities are not calibrated
TOP = 10  # of the report's metrics @k
LOOKED_AT = 10_000  # requests whose propensities are held against their values
Z = 1.96


def too_little(
    dataset: Dataset,
    joined: Attribution | None,
    *,
    test_share: float = TEST_SHARE,
    validation_share: float = VALIDATION_SHARE,
) -> Iterator[Finding]:
    """What a run would find out after training: that there is nothing to learn from, or to judge on.

    `joined`: its slates and events; None without slates. The shares are those of `splits.periods`.
    """
    where = Where(dataset.name)
    orders = int(pc.sum(pc.equal(dataset.feedback["event"].cast(pa.string()), "order")).as_py() or 0)
    if len(dataset.feedback) > 0 and orders < FEWEST:
        reason = f"{orders} orders are few: their probability is not calibrated, and differences in them are not seen."
        yield Finding("prospects", where, reason, "Export a longer period.", Severity.WARNING)
    if joined is None:
        return
    try:
        period = periods(joined.slates, test_share=test_share, validation_share=validation_share)
    except ValueError:
        reason = f"{len(joined.slates)} requests cannot be divided into a training, a validation and a test period."
        fix = "Export a longer period; or map [items] alone, and a run serves the catalogue and learns nothing."
        yield Finding("prospects", where, reason, fix)
        return
    answered = np.zeros(len(joined.slates), bool)
    answered[request_of_rows(joined.slates)[to_numpy(joined.labels["click"].combine_chunks())]] = True
    for name, requests in (("validation", period.validation), ("test", period.test)):
        if not answered[requests].any():
            reason = (
                f"none of the {int(requests.sum())} requests of the {name} period was answered by a click or order."
            )
            yield Finding("prospects", where, reason, "Export a longer period.")


def prospects(dataset: Dataset, joined: Attribution | None) -> Iterator[str]:
    """One line a question; `joined`: its slates and events, None without slates."""
    if joined is None:
        yield "heads: without lists orders alone are learned, over candidates as of each basket"
        return
    recorded, unsettled = _known_labels(dataset, joined)
    learned = learned_heads(recorded)
    heads = [_from(head, recorded) for head in learned]
    yield f"heads and the events that teach them: {', '.join(heads) or 'none'}"
    if unsettled:
        yield f"no head yet of {', '.join(unsettled)}: nothing of it has settled in the validation or the test period"
    for note in short_lists(shown(dataset.slates), item_offsets(dataset.slates), k=TOP):
        yield f"metrics: {note}"
    test = {
        head.label: float(np.nansum(recorded[head.label])) * TEST_SHARE
        for head in learned
        if head.kind is HeadKind.PROBABILITY
    }
    yield f"intervals in the test period, at best: {_widths(test)}"
    yield f"tune: {_tuning(dataset, test.get('order', 0.0))}"


def _known_labels(dataset: Dataset, joined: Attribution) -> tuple[dict[str, np.ndarray], list[str]]:
    """Labels float32 [N] by name, NaN where a request is too young for them; and those that no late period knows."""
    names = recorded_labels(dataset.feedback)
    labels = {name: joined.labels[name].to_numpy().astype(np.float32) for name in names} | arm_labels(joined.slates)
    if dataset.closed:
        return labels, []
    settled, request = settled_requests(joined, dataset.feedback), request_of_rows(joined.slates)
    try:
        counted = settled_for_all(joined, settled)
        period = periods(joined.slates, test_share=TEST_SHARE, validation_share=VALIDATION_SHARE, counted=counted)
    except ValueError:
        return labels, []
    unsettled = []
    for name, known in settled_labels(joined, settled).items():
        if name in labels:
            labels[name] = np.where(known, labels[name], np.nan)
            if not all((labels[name][part[request]] > 0).any() for part in (period.validation, period.test)):
                unsettled.append(name)
    return {name: label for name, label in labels.items() if name not in unsettled}, unsettled


def _from(head: Head, labels: Labels) -> str:
    count = int((head.rows(labels) & (labels[head.label] > 0)).sum())
    return f"{head.name} from {count:,}{'' if count >= FEWEST else ' (too few to calibrate)'}"


def _widths(events: Mapping[str, float]) -> str:
    return ", ".join(f"{name}s +- {Z / np.sqrt(n):.0%}" for name, n in events.items() if n >= 1) or "no events"


def short_lists(counted: np.ndarray, offsets: np.ndarray, *, k: int) -> tuple[str, ...]:
    """A note where no request has more than `k` items that are `counted` (bool [N]), so that any order has them among
    its first k."""
    longest = int(np.diff(np.append(0, np.cumsum(counted))[offsets]).max(initial=0))
    note = f"No list showed more than {longest} items: sums@{k} are the same for any order of them."
    return (note,) if longest <= k else ()


def _tuning(dataset: Dataset, orders: float) -> str:
    drawn = with_propensities(dataset.slates)
    if not drawn.any():
        return "can promise nothing: no place was drawn at random with its propensity (docs/counterfactual.md)"
    looked_at = np.flatnonzero(drawn)[:: -(-drawn.sum() // LOOKED_AT)]
    if not follow_from_values(dataset.slates.take(looked_at)):
        return (
            "can promise nothing: propensities are not P(this item here | the items above it) of pages drawn by the "
            "values on record (docs/own_data.md#a-log-that-was-drawn-at-random)"
        )
    orders *= drawn.mean()
    if orders < 1:
        return "can promise nothing on orders: there are none in the test period"
    least = 2 * Z / np.sqrt(orders)
    return f"{drawn.mean():.0%} of the requests were drawn at random; changes of orders below {least:.0%} are beyond it"
