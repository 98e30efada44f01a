"""Watch a run's or a service's log: each whole day against the days before it, once or for good.

FOLDER/log.sqlite (or --log) is what is read, FOLDER/watch what is written: `history.json` (from which the next pass
goes on), one page a day, and `metrics.prom` for Prometheus' textfile collector. Alerts are lines of
FOLDER/alerts.jsonl.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pyarrow.compute as pc

from evaluation.monitoring.alert import JudgedDay
from evaluation.monitoring.day_log import DAY, NOTHING, DayFacts, DayLog, between, day_log, unanswered
from evaluation.monitoring.exposition import write_metrics
from evaluation.monitoring.first_days import moved_columns
from evaluation.monitoring.history import History
from evaluation.monitoring.page import write_page
from evaluation.monitoring.usual import LEAST_DAYS
from evaluation.monitoring.watcher import WARM_UP, Watcher, WatchLimits, early_figures
from jobs.watch_replay import BundleReplays
from jobs.watch_text import print_day, print_early, print_moved
from marketplace.finding import FieldError
from marketplace.keys import one_array
from marketplace.log import QUARANTINED
from marketplace.log_place import Place, may_exist
from marketplace.open_log import open_log
from marketplace.schema import microseconds_of
from marketplace.settings import read_settings, setting
from marketplace.toml_text import TomlText, parse_toml

BATCH = 10_000  # slates read at a time
PAGES = 30  # written in one pass, of the newest day and of those that alarm


@dataclass(frozen=True)
class WatchConfig:
    """What a watch.toml may set."""

    time_zone: str = setting("UTC", "whose days are judged: the market's, an IANA name such as Asia/Riyadh")
    budget: float = setting(0.25, "false alarms a month, over all figures", unit="alarms", least=0.001, most=30)
    least_psi: float = setting(
        0.02, "a distribution that is nearer than that has not moved", unit="PSI", least=0, most=1
    )
    replayed: int = setting(40, "slates of a day that are replayed and recomputed; 0 = none", least=0, most=10_000)
    settle_hours: float = setting(3.0, "how long after its end a day is judged", unit="hours", least=0, most=24)
    new_days: int = setting(14, "how long an item counts as new", unit="days", least=1, most=365)

    def __post_init__(self) -> None:
        try:
            _ = self.zone
        except (ZoneInfoNotFoundError, ValueError, OSError):
            fix = 'Write an IANA name, such as "Asia/Riyadh".'
            raise FieldError(f"is {self.time_zone!r}, no time zone", fix, key="time_zone") from None

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)


def read_watch_config(file: Path | None, folder: Path) -> WatchConfig:
    """The settings in `file`, else in FOLDER/watch.toml, else the defaults; raises DataError with every finding."""
    file = file or folder / "watch.toml"
    text = parse_toml(file.read_bytes(), file=str(file)) if file.exists() else TomlText("", {}, {})
    return read_settings(text, WatchConfig)


class LogWatch:
    """One folder's log under watch."""

    def __init__(self, folder: Path, config: WatchConfig, *, log: Place | None = None) -> None:
        place = log or folder / "log.sqlite"
        if not may_exist(place):
            raise FileNotFoundError(f"{place} is not there: nothing was served yet (`value-model serve {folder}`).")
        self.folder, self.config = folder, config
        self.log = open_log(place)
        self.state = folder / "watch"
        self.state.mkdir(exist_ok=True)
        self.history = History.read(self.state / "history.json")
        self.watcher = Watcher(self.history, WatchLimits(config.budget, config.least_psi))
        self.replays = BundleReplays(folder)

    def step(self, now: datetime) -> list[JudgedDay]:
        """Every day that is whole and not judged yet, in order; the days' alerts are written and printed."""
        judged = []
        for whole in self._days(now):
            judged.append(self.watcher.judge(whole))
            with (self.folder / "alerts.jsonl").open("a") as file:
                file.writelines(json.dumps(alert.to_row()) + "\n" for alert in judged[-1].alerts if alert.is_new)
            self.history.write(self.state / "history.json")
            print_day(judged[-1])
        for day in [day for day in judged if day.alerts or day is judged[-1]][-PAGES:]:
            write_page(day, self.history, self.state / f"{day.day:%Y-%m-%d}.html", title=str(self.folder))
        if judged:
            write_metrics(judged[-1], self.state / "metrics.prom")
        return judged

    def say_what_waits(self, now: datetime) -> None:
        """Where the log is too short to judge: how short, and what its newest day looks like as it stands."""
        known = len(self.history.days)
        if known >= WARM_UP:
            return
        print(f"{known} of the {WARM_UP} whole days that a judgement needs are on record; until then nothing alarms.")
        if (newest := self._last_slate()) is not None:
            today = self._day_log(self._day(newest), now)
            print_early(today, early_figures(today))
            print_moved(moved_columns(self._joined(today.start - DAY, now, NOTHING), today, np.random.default_rng(0)))

    def _days(self, now: datetime) -> Iterator[DayLog]:
        """The days to judge; bins are taken of the first LEAST_DAYS, which are judged once there are so many."""
        first = self._first_day()
        if first is None:
            return
        end = self._day(now - timedelta(hours=self.config.settle_hours))
        if self.history.days:
            first = self._day(self.history.days[-1]) + DAY
        starts = [first + DAY * number for number in range((end - first).days)]
        if not self.history.bins:
            whole = list(islice(filter(self._has_slates, starts), LEAST_DAYS))
            if len(whole) < LEAST_DAYS:
                return
            self.watcher.begin([self._joined(start, now, NOTHING) for start in whole])
        silent = self._ended_silent()
        for start in starts:
            day = self._day_log(start, now)
            if len(day.slates) or not silent:  # of a service that is gone, the first day tells
                yield day
            silent = not len(day.slates)

    def _day_log(self, start: datetime, now: datetime) -> DayLog:
        return self._joined(start, now, self._facts(start))

    def _joined(self, start: datetime, now: datetime, facts: DayFacts) -> DayLog:
        known_at = min(now, start + DAY + timedelta(hours=self.config.settle_hours))
        slates = self.log.slates(since=start, until=start + DAY)
        feedback = self.log.feedback(since=start - DAY, until=known_at)
        elsewhere = self.log.slates_of(unanswered(slates, feedback, start), columns=("request_id",))
        return day_log(slates, feedback, start, now=known_at, known=one_array(elsewhere["request_id"]), facts=facts)

    def _facts(self, start: datetime) -> DayFacts:
        end = start + DAY
        slates = self.log.slates(since=start, until=end)
        again = self.replays.of_day(slates, self.log, since=start, until=end, sample=self.config.replayed)
        apart = self.log.quarantined()
        apart = between(apart.sort_by("time"), start, end)
        reasons = apart[QUARANTINED.names[-1]].value_counts().to_pylist()
        return DayFacts(
            skew=again.skew,
            recomputed=again.request_ids,
            replayed=again.same,
            updates=self._updates(start, end),
            newcomers=self.replays.newcomers(start - timedelta(days=self.config.new_days), start),
            quarantined={row["values"]: row["counts"] for row in reasons},
        )

    def _updates(self, start: datetime, end: datetime) -> int | None:
        """Catalogue fields whose newest value was recorded in the day; None where nothing feeds the catalogue."""
        records, _ = self.log.catalogue_after(0)
        times = np.array([cell.time for record in records for cell in record.fields.values()], np.int64)
        low, high = map(microseconds_of, (start, end))
        return int(((times >= low) & (times < high)).sum()) if len(times) else None

    def _first_day(self) -> datetime | None:
        earliest, _ = self.log.shown_after(0, most=1, columns=("time",))
        return self._day(earliest["time"][0].as_py()) if len(earliest) else None

    def _day(self, moment: datetime) -> datetime:
        """Midnight before a moment, where the market is; a day later (`+ DAY`) is the next, whatever clocks do."""
        return moment.astimezone(self.config.zone).replace(hour=0, minute=0, second=0, microsecond=0)

    def _last_slate(self) -> datetime | None:
        mark, last = 0, None
        while True:
            some, mark = self.log.shown_after(mark, columns=("time",), most=BATCH)
            if not len(some):
                return last
            newest = pc.max(some["time"]).as_py()
            last = newest if last is None else max(last, newest)

    def _ended_silent(self) -> bool:
        """Whether the last judged day had no slate."""
        history = self.history
        return bool(history.days) and history.values[-1, history.names.index("requests")] < 0

    def _has_slates(self, start: datetime) -> bool:
        return bool(len(self.log.slates(since=start, until=start + DAY, columns=("request_id",))))


def watch(folder: Path, *, config: Path | None, log: Place | None, every: float | None) -> int:
    """One pass, or one `every` so many minutes until a signal; exits with 1 while a cause alarms.

    Raises ValueError while another process watches the folder.
    """
    with only_watcher(folder):
        watched = LogWatch(folder, read_watch_config(config, folder), log=log)
        while True:
            watched.step(datetime.now(UTC))
            if every is None:
                break
            time.sleep(60 * every)
        watched.say_what_waits(datetime.now(UTC))
        return int(bool(watched.history.open_since))


@contextmanager
def only_watcher(folder: Path) -> Iterator[None]:
    """Two watchers would judge each day twice, and write over each other's history."""
    with (folder / ".watch.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise ValueError(
                f"{folder} is watched already, by process {lock.read().strip() or '?'}: one watcher a folder. Read its "
                f"pages in {folder / 'watch'}, or end it first."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield
