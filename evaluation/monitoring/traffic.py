"""Traffic, joins, clocks and money of a day: is the log whole, and are its amounts in the unit that they say?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evaluation.monitoring.day_log import DAY, DayLog
from evaluation.monitoring.figure import Figure, Figures, ratio, share
from marketplace.attribution import REASONS
from marketplace.keys import rows_of
from marketplace.repeats import likely_repeated
from marketplace.schema import COLUMN_PARTS
from marketplace.slate_columns import flat, to_numpy
from marketplace.splits import SECOND, microseconds

NOT_JOINED = ("orphan_request", "other_user", "orphan_item", "early", "late", "bad_amount", "other_currency")
BUNDLED = tuple(part for part in COLUMN_PARTS if part != "policy")  # policies are published and staged by themselves
BUSIEST = 5  # shoppers
FEWEST_REQUESTS = 50  # of a day, below which every shopper is busy
NONE = 0.5  # slates that a day without any counts as, in logarithms
FEWEST = 10  # orders of a day below which their amounts are not judged


def traffic_figures(day: DayLog) -> Figures:
    """Every figure of this file, by name."""
    parts = (_volume(day), _joins(day), _money(day), _feeds(day))
    return {name: figure for part in parts for name, figure in part}


def _volume(day: DayLog) -> Iterator[tuple[str, Figure]]:
    time = microseconds(day.slates["time"])
    start, end = (pa.scalar(at, pa.timestamp("us", tz="UTC")).value for at in (day.start, day.start + DAY))
    gaps = np.diff(np.concatenate([[start], time, [end]]))
    widest = int(gaps.argmax())
    around = np.array([widest - 1, min(widest, len(time) - 1)]) if len(time) else np.empty(0, np.int64)
    yield "requests", Figure(float(np.log(max(len(time), NONE))))
    yield "silence", Figure(float(np.log(gaps.max() / (60 * SECOND))), around)
    shopper = to_numpy(day.slates["user_id"].combine_chunks().indices) if len(time) else np.empty(0, np.int64)
    counts = np.bincount(shopper, minlength=1)
    busy = np.argsort(-counts)[:BUSIEST]
    top = np.concatenate([np.flatnonzero(shopper == one) for one in busy[:1]]) if len(time) else np.empty(0, np.int64)
    yield "top_shoppers", ratio(counts[busy].sum(), len(time), top, least=FEWEST_REQUESTS)
    seen, clicks = (to_numpy(day.joined.labels[name]) for name in ("seen", "click"))
    orders, carts = (to_numpy(day.joined.labels[name]) for name in ("order", "cart"))
    yield "rate.seen", ratio(seen.sum(), day.shown.sum())
    yield "rate.click", ratio(clicks.sum(), seen.sum())
    yield "rate.cart", ratio(carts.sum(), clicks.sum())
    yield "rate.order", ratio(orders.sum(), clicks.sum())
    yield "fill", ratio(day.shown.sum(), len(time), least=1)


def _joins(day: DayLog) -> Iterator[tuple[str, Figure]]:
    every, row = np.ones(len(day.events), bool), rows_of(day.events["request_id"], day.slates["request_id"])
    for name in NOT_JOINED:
        yield f"events.{name}", share(day.reason == REASONS.index(name), every, row)
    yield "events.repeated", share(likely_repeated(day.events), every, row)
    for name, count in day.facts.quarantined.items():
        yield f"quarantined.{name}", Figure(count / max(len(day.events) + count, 1))


def _money(day: DayLog) -> Iterator[tuple[str, Figure]]:
    price, shown = to_numpy(flat(day.slates, "price")), day.shown
    sound = shown & (price > 0)
    yield "price", Figure(float(np.log(price[sound]).mean()) if sound.any() else np.nan, day.request[sound])
    paid = to_numpy(day.joined.labels["order_value"])
    bought = to_numpy(day.joined.labels["order"]) & (paid > 0) & (price > 0)
    logs = np.log(paid[bought] / price[bought])
    odd = day.request[bought][np.argsort(-np.abs(logs))]
    yield "paid_to_price", Figure(float(logs.mean()) if bought.sum() >= FEWEST else np.nan, odd)


def _feeds(day: DayLog) -> Iterator[tuple[str, Figure]]:
    if day.facts.updates is not None:
        yield "catalogue_updates", Figure(float(np.log1p(day.facts.updates)))
    if day.facts.replayed is not None:
        yield "replayed", Figure(day.facts.replayed, day.rows(day.facts.recomputed))


def version_places(day: DayLog) -> Iterator[tuple[str, str, np.ndarray]]:
    """Place, version and rows of the slates that a version of a bundle's part answered there.

    A place is a part among slates of the same variants, since two bundles of one experiment do not follow one another.
    """
    cells = [pc.fill_null(day.slates[name].cast(pa.string()), "") for name in ("experiment", "variant")]
    for part in BUNDLED:
        version = pc.fill_null(day.slates[f"{part}_version"].cast(pa.string()), "")
        keys = pc.binary_join_element_wise(*cells, version, "\n").combine_chunks().dictionary_encode()
        codes = keys.indices.to_numpy()
        for code, key in enumerate(keys.dictionary.to_pylist()):
            experiment, variant, name = key.split("\n")
            if name:
                yield " ".join(filter(None, (part, experiment, variant))), name, np.flatnonzero(codes == code)
