"""Moments of exports: each is worked out by hand, in UTC."""

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from marketplace.datasets.times import times
from marketplace.finding import Where

NOON = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)  # noon in Riyadh


def read(*values, zone: str | None = "Asia/Riyadh", time_format: str | None = None):
    moments, findings = times(
        pa.array(values), where=Where("file", part="column t"), time_zone=zone, time_format=time_format
    )
    return moments.to_pylist(), [str(finding) for finding in findings]


@pytest.mark.parametrize(
    "text",
    [
        *("2026-03-01 12:00:00", "2026-03-01T12:00", "2026-03-01 12", " 2026-03-01 12:00:00 ", "20260301T120000"),
        *("2026-03-01 12:00:00+03", "2026-03-01T12:00:00+0300", "2026-03-01 12:00:00+03:00:00", "20260301T120000+03"),
        *("2026-03-01T09:00:00Z", "2026-03-01 09:00:00 UTC", "2026-03-01T09+00", "2026-02-28 21:00:00.000000-12"),
        "2026-03-01 14:30:00 +05:30",
    ],
)
def test_iso_8601_and_postgresql_in_every_form(text):
    assert read(text) == ([NOON], [])
    assert read(text, None, "2026-03-01 12:00:00+03") == ([NOON, None, NOON], [])


def test_a_date_ends_like_an_offset_and_is_none():
    assert read("2026-03-01")[0] == read(date(2026, 3, 1))[0] == [datetime(2026, 2, 28, 21, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("text", "time_format"),
    [
        ("01/03/2026 12:00", "%d/%m/%Y %H:%M"),
        ("01/03/2026 09:00Z", "%d/%m/%Y %H:%MZ"),
        ("01/03/2026 12:00+0300", "%d/%m/%Y %H:%M%z"),
        ("01/03/2026 11:00 Africa/Cairo", "%d/%m/%Y %H:%M %Z"),
        ("01/03/2026 09:00 UTC", "%d/%m/%Y %H:%M %Z"),
    ],
)
def test_a_format_that_carries_its_zone_is_not_shifted_again(text, time_format):
    assert read(text, time_format=time_format) == ([NOON], [])


def test_a_zone_that_nobody_can_tell_is_refused():
    moments, findings = read("01/03/2026 12:00 AST", time_format="%d/%m/%Y %H:%M %Z")
    assert moments == [None]
    assert len(findings) == 1
    assert "row 1: error: no such time zone: 'AST'" in findings[0]


@pytest.mark.parametrize("zone", ["Asia/Riyadh", None])
@pytest.mark.parametrize(("unit", "micros"), [("epoch_s", 10**6), ("epoch_ms", 10**3), ("epoch_us", 1)])
def test_the_epoch_counts_in_utc(zone, unit, micros):
    count = int(NOON.timestamp()) * 10**6 // micros
    for value in (count, str(count), float(count)):
        assert read(value, zone=zone, time_format=unit) == ([NOON], [])
        moments, findings = read(value, zone=zone)
        assert moments == [NOON]
        assert len(findings) == 1
        assert (
            f'file, column t: warning: read as {unit[6:]} since 1970 in UTC. Fix: Set time_format = "{unit}"'
            in findings[0]
        )


def test_fractions_of_a_second_and_strptimes_own_name_of_the_epoch():
    assert read("1772355600.25", time_format="%s")[0] == [NOON.replace(microsecond=250_000)]
    assert read(1772355600.25, float("nan"), time_format="epoch_s")[0] == [NOON.replace(microsecond=250_000), None]


def test_numbers_that_fit_no_unit_are_no_times():
    moments, findings = read(5, 6)
    assert moments == [None, None]
    assert "row 1: error: wanted a time, received 5 (2 rows)" in findings[0]
    assert "wanted a time" in read(1e30, time_format="epoch_s")[1][0]


def test_hours_of_a_clock_change_follow_a_rule_and_are_counted():
    moments, findings = read("2026-03-29 02:30:00", "2026-10-25 02:30:00", "2026-06-01 00:00:00", zone="Europe/Berlin")
    assert moments == [
        datetime(2026, 3, 29, 1, 0, tzinfo=UTC),  # 03:00, the first moment after the hour that is left out
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),  # 02:30 of summer time, the earlier of the two
        datetime(2026, 5, 31, 22, 0, tzinfo=UTC),
    ]
    assert ["row 2" in finding for finding in findings] == [True, False]
    assert "occur twice" in findings[0]
    assert "do not exist" in findings[1]


def test_years_that_no_shop_has_seen_are_errors():
    moments, findings = read("1850-01-01", "2026-03-01T09:00Z", "2300-01-01")
    assert moments == [None, NOON, None]
    assert "1849-12-31 lies outside 1970-2200 (2 rows)" in findings[0]


def test_local_times_need_a_zone():
    moments, findings = read("2026-03-01T09:00Z", "2026-03-01 12:00", zone=None)
    assert moments == [NOON, None]
    assert "row 2: error: times without a time zone" in findings[0]
