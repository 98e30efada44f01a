"""When shoppers come: hours of the day, the weekend of each country, and the year's seasons.

Days are counted from the log's start in UTC; the Gulf is taken as UTC+3 throughout.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from marketplace.simulator import words

LOCAL_HOURS = 3
DAY_US = 86_400_000_000
# Share of a day's visits by local hour: quiet before dawn, a peak in the evening.
HOURLY = np.array([5, 4, 3, 2, 1.5, 1.5, 2, 2.5, 3, 4, 4.5, 5, 5, 5, 5, 5, 5.5, 6, 6.5, 7, 8, 8.5, 8, 6.5])
# Monday = 0. Friday and Saturday are the weekend, in AE Saturday and Sunday.
WEEKDAY = {"AE": (1, 1, 1, 1, 1.15, 1.35, 1.25)}
GULF_WEEK = (1, 1, 1, 1.1, 1.35, 1.3, 1)
# Peaks of the whole market: first day, length in days, extra demand at the peak (1 = doubled).
RAMADAN = (datetime(2025, 3, 1), datetime(2026, 2, 18), datetime(2027, 2, 8))
RAMADAN_DAYS, RAMADAN_LIFT = 30, 0.5
WHITE_FRIDAY_DAY, WHITE_FRIDAY_DAYS, WHITE_FRIDAY_LIFT = 325, 12, 1.0
SEASON_SWING = 0.5  # log-odds between a category's peak day and the mean of its year


def hourly_intensity(start: datetime, *, days: int) -> np.ndarray:
    """Relative demand float64 [countries, days x 24] of each hour after `start`."""
    hours = np.arange(days * 24) + start.hour + LOCAL_HOURS
    day = hours // 24
    weekday = (start.weekday() + day) % 7
    season = season_lift(start, day)
    weeks = [WEEKDAY.get(country, GULF_WEEK) for country in words.COUNTRIES]
    return np.stack([HOURLY[hours % 24] * np.array(week)[weekday] * season for week in weeks])


def season_lift(start: datetime, day: np.ndarray) -> np.ndarray:
    """Factor on the market's demand `day` days after start: 1 outside Ramadan and the November sales."""
    lift = np.ones(len(day))
    for first in RAMADAN:
        since = day - (first.replace(tzinfo=UTC) - start).days
        lift += RAMADAN_LIFT * _bump(since, RAMADAN_DAYS)
    return lift + WHITE_FRIDAY_LIFT * _bump(day_of_year(start, day) - WHITE_FRIDAY_DAY, WHITE_FRIDAY_DAYS)


def category_season(start: datetime, day: np.ndarray) -> np.ndarray:
    """Log-odds float32 [n, K] by which each category is wanted more or less on `day`."""
    peak = np.array([row.peak_day for row in words.CATEGORIES])
    angle = 2 * np.pi * (day_of_year(start, day)[:, None] - peak) / 365
    return (SEASON_SWING * np.cos(angle)).astype(np.float32)


def day_of_year(start: datetime, day: np.ndarray) -> np.ndarray:
    return (start.timetuple().tm_yday - 1 + day) % 365 + 1


def _bump(since: np.ndarray, length: int) -> np.ndarray:
    inside = (since >= 0) & (since < length)
    return np.where(inside, np.sin(np.pi * (since + 0.5) / length), 0.0)
