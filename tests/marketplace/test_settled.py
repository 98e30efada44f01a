"""Open windows: what is still to come of the newest requests is not counted as nothing."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jobs.data import market
from marketplace.attribution import attribute
from marketplace.check import with_open_windows
from marketplace.settled import come_shares, settled_labels, settled_requests, settling_notes, settling_times
from marketplace.slate_columns import item_offsets
from marketplace.splits import DAY_US, microseconds, periods

MEAN_DELAY = 1.5  # days between a list and its order


@pytest.fixture(scope="module")
def cut():
    """(whole market with slow orders, the slates and the feedback known at the cut)."""
    dataset, rng = market("small", seed=3).dataset, np.random.default_rng(4)
    time, order = microseconds(dataset.feedback["time"]), pc.equal(dataset.feedback["event"].cast(pa.string()), "order")
    later = time + np.where(order.to_numpy(), rng.exponential(MEAN_DELAY * DAY_US, len(time)), 0).astype(np.int64)
    at = dataset.feedback.column_names.index("time")
    field = dataset.feedback.schema.field("time")
    feedback = dataset.feedback.set_column(at, field, pa.array(later).cast(field.type))
    end = int(np.quantile(microseconds(dataset.slates["time"]), 0.6))
    slates = dataset.slates.filter(pa.array(microseconds(dataset.slates["time"]) < end))
    return replace(dataset, feedback=feedback), slates, feedback.filter(pa.array(later < end))


def test_order_rates_are_biased_where_windows_are_open_and_right_where_they_have_settled(cut):
    dataset, slates, known = cut
    joined, truth = attribute(slates, known), attribute(slates, dataset.feedback).labels["order"].to_numpy()
    seen = joined.labels["order"].to_numpy()
    settled = settled_labels(joined, settled_requests(joined, known))["order"]
    assert 0.3 < settled.mean() < 1
    assert seen[~settled].sum() < 0.9 * truth[~settled].sum()
    assert seen.sum() < 0.97 * truth.sum()
    assert seen[settled].sum() >= 0.99 * truth[settled].sum()


def test_the_wait_is_that_of_the_delays_whatever_the_log_s_end_hides(cut):
    _, slates, known = cut
    joined = attribute(slates, known)
    days = settling_times(joined, known)["order"] / DAY_US
    assert days == pytest.approx(MEAN_DELAY * np.log(100), rel=0.35)  # the 99th percentile of an exponential
    assert settling_times(joined, known)["click"] < DAY_US / 24
    (orders,) = [note for note in settling_notes(joined, known) if "orders" in note]
    assert f"come within {days:.1f} days" in orders


def test_the_share_that_has_come_is_that_of_the_delays_and_makes_up_for_what_has_not(cut):
    dataset, slates, known = cut
    joined, truth = attribute(slates, known), attribute(slates, dataset.feedback).labels["order"].to_numpy()
    share = come_shares(joined, known)["order"]
    age = (microseconds(known["time"]).max() - microseconds(slates["time"])) / DAY_US
    expected = 1 - np.exp(-age / MEAN_DELAY)
    assert np.abs(share - np.repeat(expected, np.diff(item_offsets(slates)))).max() < 0.15
    young = (share > 0.1) & (share < 0.9)
    seen = joined.labels["order"].to_numpy()[young]
    assert seen.sum() < 0.8 * truth[young].sum()
    assert (seen / share[young]).sum() == pytest.approx(truth[young].sum(), rel=0.25)


def test_a_run_notes_what_is_too_young_unless_the_data_are_closed(cut):
    dataset, slates, known = cut
    log = replace(dataset, slates=slates, feedback=known)
    joined = attribute(slates, known)
    noted = with_open_windows(log, joined)
    assert set(noted.notes) - set(log.notes) == set(settling_notes(joined, known))
    assert with_open_windows(replace(log, closed=True), joined).notes == log.notes


def test_a_log_without_delays_has_settled(cut):
    _, slates, known = cut
    times = {name: row for row, name in enumerate(slates["request_id"].to_pylist())}
    request = [times.get(name, 0) for name in known["request_id"].to_pylist()]
    at = known.column_names.index("time")
    at_once = known.set_column(at, known.schema.field("time"), slates["time"].take(pa.array(request)))
    assert all(settled.all() for settled in settled_requests(attribute(slates, at_once), at_once).values())


def test_periods_are_cut_by_the_requests_that_count(cut):
    _, slates, _ = cut
    counted = np.arange(len(slates)) < 0.8 * len(slates)  # slates come by time
    part = periods(slates, test_share=0.2, validation_share=0.15, counted=counted)
    assert (part.test & counted).sum() == pytest.approx(0.2 * counted.sum(), abs=2)
    assert part.test[~counted].all()
    assert (part.train.astype(int) + part.validation + part.test == 1).all()
    plain = periods(slates, test_share=0.2, validation_share=0.15)
    assert plain.test.sum() == pytest.approx(0.2 * len(slates), abs=2)
