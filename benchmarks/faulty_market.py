"""A simulated market's log of 60 days as a service would have left it, and faults that are planted into single days.

Heads are the simulator's truth at the mean examination of a surface, brought to the rates of the first days by isotonic
regression: a ranker as good as any, calibrated as the house's are. Features are backfilled as of each request, a new
bundle comes every week, and the catalogue's feed writes some hundred fields a day. Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.isotonic import IsotonicRegression

from evaluation.monitoring.day_log import DayFacts, DayLog, FeatureDifference, between, day_log
from features.backfill import backfill
from features.definitions import standard_spec
from features.served import attach
from features.spec import FeatureSpec
from features.store import MemoryStore
from jobs.watch_replay import difference_of
from marketplace.attribution import attribute
from marketplace.dataset import Dataset
from marketplace.heads import composed
from marketplace.keys import one_array
from marketplace.schema import COLUMN_PARTS, FEEDBACK, SLATE
from marketplace.simulator import Simulation, SimulatorConfig, simulate
from marketplace.slate import table_to_slates
from marketplace.slate_columns import RequestLists, flat, item_offsets, map_of_lists, request_of_rows, to_numpy
from marketplace.splits import microseconds
from serving.skew import skew_of

DAYS, CALIBRATED = 60, 14  # of the log; of its beginning, by which heads are calibrated
NEW_DAYS = 14  # an item is new for so long
SAMPLE = 10  # slates a day whose features are recomputed
FEATURES = ("user_segment", "surface", "category", "price", "price_to_category", "quality", "age_days", "popularity")
FEATURES += ("impressions", "ctr_smoothed", "user_clicks", "user_days_since")
LATEST = timedelta(hours=3)  # a day is judged so long after its end


@dataclass
class FaultyDay:
    """What a fault may change: the day's tables, and how much the catalogue's feed writes."""

    start: datetime
    slates: pa.Table
    feedback: pa.Table
    updates: int
    rng: np.random.Generator


Fault = Callable[[FaultyDay], FaultyDay]


@dataclass(frozen=True)
class WatchedMarket:
    """The log without a fault, and what else a watcher knows of each day."""

    dataset: Dataset
    spec: FeatureSpec
    updates: np.ndarray  # int64 [DAYS]
    start: datetime

    def day_logs(self, faults: dict[int, Fault], rng: np.random.Generator) -> Iterator[DayLog]:
        """Every day in order, with the fault of its number planted."""
        store = MemoryStore(self.spec, *_store_parts(self.dataset))
        for number in range(DAYS):
            begin = self.start + timedelta(days=number)
            now = begin + timedelta(days=1) + LATEST
            slates = between(self.dataset.slates, begin - timedelta(days=2), now)
            feedback = between(self.dataset.feedback, begin - timedelta(days=2), now)
            day, around = self._planted(faults.get(number), number, begin, slates, feedback, rng)
            sample = day.slates.take(pa.array(np.linspace(0, len(day.slates) - 1, SAMPLE).astype(int)))
            skew = self._skew(store, sample, begin)
            ids, new = tuple(sample["request_id"].to_pylist()), self._newcomers(begin)
            facts = DayFacts(skew, ids, updates=day.updates, newcomers=new)
            known = one_array(between(self.dataset.slates, self.start, begin)["request_id"])
            yield day_log(day.slates, around, begin, now=now, known=known, facts=facts)

    def _planted(
        self,
        fault: Fault | None,
        number: int,
        begin: datetime,
        slates: pa.Table,
        feedback: pa.Table,
        rng: np.random.Generator,
    ) -> tuple[FaultyDay, pa.Table]:
        """The faulty day, and its feedback among that of the days around it, in order of time."""
        end = begin + timedelta(days=1)
        today = between(slates, begin, end)
        answers = pc.is_in(feedback["request_id"], value_set=today["request_id"].combine_chunks())
        day = FaultyDay(begin, today, feedback.filter(answers), int(self.updates[number]), rng)
        if fault is None:
            return day, feedback
        day = fault(day)
        day.slates = day.slates.sort_by("time")
        return day, pa.concat_tables([feedback.filter(pc.invert(answers)), day.feedback]).sort_by("time")

    def _newcomers(self, begin: datetime) -> pa.Array:
        launched = self.dataset.items["available_from"]
        recent = pc.and_(pc.greater(launched, begin - timedelta(days=NEW_DAYS)), pc.less(launched, begin))
        return self.dataset.items["item_id"].filter(pc.fill_null(recent, False)).combine_chunks()

    def _skew(self, store: MemoryStore, sample: pa.Table, begin: datetime) -> dict[str, FeatureDifference]:
        """Of some of the day's slates, through the service's own comparison; the store then knows the day."""
        end = begin + timedelta(days=1)
        feedback, shown = (between(table, begin, end) for table in (self.dataset.feedback, self.dataset.slates))
        skew = skew_of(table_to_slates(sample), store, feedback=feedback, shown=shown)
        return {name: difference_of(one) for name, one in skew.items()}


def watched_market(seed: int, *, drift_day: int | None = None, requests: int = 30_000) -> WatchedMarket:
    """A market of its own for each seed; from `drift_day` on shoppers want other things."""
    config = SimulatorConfig(
        requests=requests,
        users=3_000,
        items=1_500,
        merchants=120,
        days=DAYS,
        order_offset=1.0,
        drift_day=float(drift_day or 0),
    )
    plain = simulate(config, np.random.default_rng(seed))
    slates, feedback = _with_heads(plain, plain), plain.dataset.feedback
    if drift_day is not None:
        after = simulate(replace(config, preference_drift=0.7, demand_shift=2.0), np.random.default_rng(seed))
        slates, feedback = _joined(
            slates, feedback, _with_heads(after, plain), after.dataset.feedback, config, drift_day
        )
    dataset = replace(plain.dataset, slates=slates, feedback=feedback)
    wide = standard_spec(text=False)
    spec = FeatureSpec(tuple(feature for feature in wide.features if feature.name in FEATURES))
    rng = np.random.default_rng([seed, 1])
    slates = _with_versions(attach(slates, backfill(dataset, slates, spec=spec)), config.start)
    weekday = np.array([(config.start + timedelta(days=day)).weekday() for day in range(DAYS)])
    updates = rng.poisson(np.where(weekday >= 4, 120, 240))
    return WatchedMarket(replace(dataset, slates=slates), spec, updates, config.start)


def _store_parts(dataset: Dataset):
    from features.catalogue import Catalogue

    return Catalogue.of(dataset), dataset.users


def _with_heads(simulation: Simulation, known: Simulation) -> pa.Table:
    """The simulation's slates with heads as of what was `known`: before any drift."""
    slates, ranked = simulation.dataset.slates, simulation.ranked
    shown = ranked.shown
    item = np.where(shown, ranked.item, -1)
    response = known.respond(simulation.requests, item)
    examined = known.examination(positions=shown.shape[1])
    depth = np.array([examined[s, : max(n, 1)].mean() for s, n in zip(range(4), known.config.shown, strict=True)])
    raw = (response.attraction * depth[simulation.requests.surface][:, None])[shown]
    surface = simulation.requests.surface[np.nonzero(shown)[0]]
    heads = {
        "ctr": _calibrated(raw, surface, known),
        "cvr": response.order[shown],
        "order_value": response.order_value[shown],
    }
    heads = composed(heads)
    offsets = item_offsets(slates)
    columns = {name: RequestLists(offsets, pa.array(values)) for name, values in heads.items()}
    cells = map_of_lists(columns, requests=len(slates), values=pa.float64())
    return _set(slates, predictions=cells)


def _calibrated(raw: np.ndarray, surface: np.ndarray, known: Simulation) -> np.ndarray:
    """By surface, isotonic on the first CALIBRATED days of what was known."""
    joined = attribute(known.dataset.slates, known.dataset.feedback)
    click = to_numpy(joined.labels["click"])
    shown = known.ranked.shown
    examined = known.examination(positions=shown.shape[1])
    depth = np.array([examined[s, : max(n, 1)].mean() for s, n in zip(range(4), known.config.shown, strict=True)])
    response = known.respond(known.requests, np.where(shown, known.ranked.item, -1))
    theirs = (response.attraction * depth[known.requests.surface][:, None])[shown]
    row = np.nonzero(shown)[0]
    early = known.requests.day[row] < CALIBRATED
    result = np.empty(len(raw))
    for code in range(4):
        fit = early & (known.requests.surface[row] == code)
        model = IsotonicRegression(out_of_bounds="clip", y_min=1e-5).fit(theirs[fit], click[fit])
        # a little of the raw score keeps the order that blocks of one level lose
        mine = surface == code
        result[mine] = 0.98 * model.predict(raw[mine]) + 0.02 * raw[mine] * click[fit].mean() / theirs[fit].mean()
    return result


def _joined(before: pa.Table, answers: pa.Table, after: pa.Table, later: pa.Table, config: SimulatorConfig, day: int):
    """Requests before `day` of one log and from then on of the other, each with all that came of them."""
    cut = config.start + timedelta(days=day)
    before, after = before.filter(pc.less(before["time"], cut)), after.filter(pc.greater_equal(after["time"], cut))
    answers = answers.filter(pc.is_in(answers["request_id"], value_set=before["request_id"].combine_chunks()))
    later = later.filter(pc.is_in(later["request_id"], value_set=after["request_id"].combine_chunks()))
    names = pc.binary_join_element_wise("d", later["feedback_id"], "")
    later = later.set_column(0, FEEDBACK.field("feedback_id"), names)
    return pa.concat_tables([before, after]), pa.concat_tables([answers, later]).sort_by("time")


def _with_versions(slates: pa.Table, start: datetime) -> pa.Table:
    """A bundle a week."""
    week = (microseconds(slates["time"]) - pa.scalar(start, pa.timestamp("us", tz="UTC")).value) // (7 * 86_400_000_000)
    names = pc.binary_join_element_wise("week", pa.array(week).cast(pa.string()), "-")
    columns = {f"{part}_version": names.dictionary_encode() for part in COLUMN_PARTS if part != "feature_spec"}
    return _set(slates, **columns)


def _set(table: pa.Table, **columns: pa.Array) -> pa.Table:
    for name, values in columns.items():
        field = (SLATE if name in SLATE.names else FEEDBACK).field(name)
        table = table.set_column(table.column_names.index(name), field, values.cast(field.type))
    return table


# The faults, each of which changes one day.


def clock(day: FaultyDay) -> FaultyDay:
    """Half of the phones report events two hours early."""
    off = day.rng.random(len(day.feedback)) < 0.5
    time = microseconds(day.feedback["time"]) - np.where(off, 2 * 3_600_000_000, 0)
    day.feedback = _set(day.feedback, time=pa.array(time).cast(pa.timestamp("us", tz="UTC")))
    return day


def log_loss(day: FaultyDay) -> FaultyDay:
    """Nothing is recorded from 12:00 to 17:00."""
    hours = [day.start + timedelta(hours=hour) for hour in (12, 17)]
    for name in ("slates", "feedback"):
        table = getattr(day, name)
        lost = pc.and_(pc.greater_equal(table["time"], hours[0]), pc.less(table["time"], hours[1]))
        setattr(day, name, table.filter(pc.invert(lost)))
    return day


def currency(day: FaultyDay) -> FaultyDay:
    """Orders' amounts come in USD, labelled SAR."""
    amount = pc.multiply(day.feedback["amount"], 0.2666)
    day.feedback = _set(day.feedback, amount=amount.combine_chunks())
    return day


def duplicate_events(day: FaultyDay) -> FaultyDay:
    """A seventh of the events come twice, under ids of their own."""
    again = day.feedback.filter(pa.array(day.rng.random(len(day.feedback)) < 0.15))
    names = pc.binary_join_element_wise(again["feedback_id"], "again", "-").combine_chunks()
    day.feedback = pa.concat_tables([day.feedback, _set(again, feedback_id=names)])
    return day


def bots(day: FaultyDay) -> FaultyDay:
    """Three crawlers ask for 40 lists each, and click nothing."""
    rows = np.sort(day.rng.integers(0, len(day.slates), 120))
    copies = day.slates.take(pa.array(rows))
    shopper = pa.array([f"crawler{number % 3}" for number in range(len(rows))]).dictionary_encode()
    names = pa.array([f"crawl-{day.start:%m%d}-{number}" for number in range(len(rows))])
    copies = _set(copies, request_id=names, user_id=shopper, session_id=shopper)
    day.slates = pa.concat_tables([day.slates, copies]).unify_dictionaries()
    return day


def merchant_gaming(day: FaultyDay) -> FaultyDay:
    """A merchant of middling exposure has a third of its impressions clicked by friends."""
    merchant = flat(day.slates, "merchant_id").cast(pa.string())
    counts = sorted(((row["counts"], row["values"]) for row in merchant.value_counts().to_pylist()), reverse=True)
    mine = np.flatnonzero(to_numpy(pc.equal(merchant, counts[len(counts) // 5][1])))
    rows = mine[day.rng.random(len(mine)) < 0.35]
    request = request_of_rows(day.slates)[rows]
    clicks = {
        "feedback_id": pa.array([f"friend-{day.start:%m%d}-{number}" for number in range(len(rows))]),
        "request_id": day.slates["request_id"].take(pa.array(request)),
        "event": pa.array(["click"] * len(rows)),
        "time": pc.add(day.slates["time"].take(pa.array(request)), pa.scalar(timedelta(seconds=40))),
        "user_id": day.slates["user_id"].take(pa.array(request)),
        "item_id": flat(day.slates, "item_id").take(pa.array(rows)),
        "session_id": day.slates["session_id"].take(pa.array(request)),
    }
    columns = [
        clicks[field.name].cast(field.type) if field.name in clicks else pa.nulls(len(rows), field.type)
        for field in FEEDBACK
    ]
    day.feedback = pa.concat_tables([day.feedback, pa.Table.from_arrays(columns, schema=FEEDBACK)])
    return day


def stale_bundle(day: FaultyDay) -> FaultyDay:
    """One of three workers still serves the bundle of three weeks ago."""
    stale = day.rng.random(len(day.slates)) < 0.33
    for part in COLUMN_PARTS[:-1]:
        now = day.slates[f"{part}_version"].cast(pa.string())
        week = int(now[0].as_py().removeprefix("week-"))
        old = pc.if_else(pa.array(stale), f"week-{max(week - 3, 0)}", now)
        day.slates = _set(day.slates, **{f"{part}_version": old.combine_chunks().dictionary_encode()})
    return day


def broken_feature(day: FaultyDay) -> FaultyDay:
    """A feature is empty from noon on."""
    return _feature(day, "popularity", lambda v, late: np.where(late, np.nan, v), of=_late(day))


def skew(day: FaultyDay) -> FaultyDay:
    """A counter of the feature store lags: it is served some percent too low."""
    return _feature(day, "impressions", lambda v, every: v * 0.96, of=np.ones(len(day.slates), bool))


def stock_feed(day: FaultyDay) -> FaultyDay:
    """The catalogue's feed writes nothing."""
    day.updates = 0
    return day


def position_change(day: FaultyDay) -> FaultyDay:
    """The page shows the last third of each list first; the log still says how the engine ordered it."""
    place = to_numpy(flat(day.slates, "position")).astype(np.int64)
    offsets = item_offsets(day.slates)
    size = np.diff(offsets)[request_of_rows(day.slates)]
    moved = (place - 1 + size // 3) % np.maximum(size, 1) + 1
    return replace_lists(day, "position", pa.array(moved, pa.int32()))


def _late(day: FaultyDay) -> np.ndarray:
    noon = pa.scalar(day.start + timedelta(hours=12), pa.timestamp("us", tz="UTC")).value
    return microseconds(day.slates["time"]) >= noon


def _feature(day: FaultyDay, name: str, change, *, of: np.ndarray) -> FaultyDay:
    from marketplace.slate_columns import all_lists

    columns = all_lists(day.slates, "numeric")
    values = to_numpy(columns[name].values)
    rows = np.repeat(of, columns[name].lengths)
    columns[name] = RequestLists(columns[name].offsets, pa.array(change(values, rows).astype(np.float32)))
    day.slates = _set(day.slates, numeric=map_of_lists(columns, requests=len(day.slates), values=pa.float32()))
    return day


def replace_lists(day: FaultyDay, name: str, values: pa.Array) -> FaultyDay:
    """The day with one column over items replaced."""
    offsets = pa.array(item_offsets(day.slates), pa.int32())
    day.slates = _set(day.slates, **{name: pa.ListArray.from_arrays(offsets, values)})
    return day


FAULTS: dict[str, Fault] = {
    one.__name__: one
    for one in (
        clock,
        log_loss,
        currency,
        duplicate_events,
        bots,
        merchant_gaming,
        stale_bundle,
        broken_feature,
        skew,
        stock_feed,
        position_change,
    )
}
