"""Further columns of an export reach the data set's tables under their names, with the values that were written."""

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from marketplace.check import check
from marketplace.dataset import load_dataset
from marketplace.datasets.own import read_own
from marketplace.slate_columns import all_lists

MAPPING = """
name = "hotels"
currency = "EUR"
time_zone = "UTC"
features = ["stars", "pool", "opened", "budget", "rank"]
ignore = ["rank"]

[items]
file = "items.csv"
[items.columns]
item_id = "id"
merchant_id = "chain"
price = "price"
[items.numeric]
stars = "stars"
pool = "pool"
[items.dates]
opened = "opened"
[items.categorical]
town = "town"
[items.attributes]
brand = "chain"
[items.text]
about = "about"

[users]
file = "users.csv"
[users.columns]
user_id = "id"
[users.numeric]
budget = "budget"
[users.categorical]
tier = "tier"

[slates]
file = "shown.csv"
[slates.columns]
request_id = "request"
time = "at"
user_id = "guest"
item_id = "hotel"
[slates.numeric]
rank = "rank"
[slates.dates]
free_from = "free"
[slates.categorical]
badge = "badge"
[slates.request_numeric]
nights = "nights"
[slates.request_dates]
check_in = "check_in"
[slates.context]
device = "device"

[feedback]
file = "booked.csv"
[feedback.columns]
time = "at"
user_id = "guest"
item_id = "hotel"
[feedback.constants]
event = "order"
"""

FILES = {
    "mapping.toml": MAPPING,
    "items.csv": "id,chain,price,stars,pool,opened,town,about\n"
    "h1,c1,90,4,yes,1970-01-11,Jeddah,by the sea\nh2,c1,70,,no,,,\n",
    "users.csv": "id,budget,tier\nu1,120.5,gold\nu2,,\n",
    "shown.csv": "request,at,guest,hotel,rank,free,badge,nights,check_in,device\n"
    "r1,2026-03-02 12:00:00,u1,h1,0.5,2026-03-02 18:00:00,new,3,2026-03-16 12:00:00,phone\n"
    "r1,2026-03-02 12:00:00,u1,h2,,2026-03-01 12:00:00,,3,2026-03-16 12:00:00,phone\n"
    "r2,2026-03-03 12:00:00,u2,h2,2,,hot,1,,\n",
    "booked.csv": "at,guest,hotel\n2026-03-03 12:01:00,u2,h2\n",
}


@pytest.fixture
def hotels(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path / "mapping.toml"


def spoil(mapping: Path, old: str, new: str) -> list[str]:
    text = mapping.read_text("utf-8")
    assert old in text
    mapping.write_text(text.replace(old, new, 1), "utf-8")
    return [str(finding) for finding in check(mapping)]


def test_items_and_shoppers_keep_what_is_known_of_them_by_name(hotels, tmp_path):
    data = read_own(hotels)
    first, second = map(dict, data.items["numeric"].to_pylist())
    assert first == {"stars": 4.0, "pool": 1.0, "opened": 10.0}
    assert second["pool"] == 0.0
    assert math.isnan(second["stars"] + second["opened"])
    assert [dict(row) for row in data.items["attributes"].to_pylist()] == [
        {"town": "Jeddah", "brand": "c1"},
        {"town": None, "brand": "c1"},
    ]
    assert [dict(row) for row in data.items["text"].to_pylist()] == [{"about": "by the sea"}, {"about": None}]
    assert dict(data.users["numeric"][0].as_py()) == {"budget": 120.5}
    assert [dict(row) for row in data.users["attributes"].to_pylist()] == [{"tier": "gold"}, {"tier": None}]
    assert (data.mapped_features, data.ignored_features) == (("stars", "pool", "opened", "budget", "rank"), ("rank",))
    assert data.context_features == ("device",)
    data.save(tmp_path / "saved")
    kept = load_dataset(tmp_path / "saved")
    assert kept.mapped_features == data.mapped_features
    assert str(kept.items["numeric"].to_pylist()) == str(data.items["numeric"].to_pylist())


def test_candidates_have_a_value_each_and_requests_one(hotels):
    slates = read_own(hotels).slates
    numeric = {name: (cells.offsets.tolist(), cells.values) for name, cells in all_lists(slates, "numeric").items()}
    assert numeric["rank"][0] == numeric["free_from"][0] == [0, 2, 3]
    assert numeric["nights"][0] == numeric["check_in"][0] == [0, 1, 2]
    assert str(numeric["rank"][1].to_pylist()) == "[0.5, nan, 2.0]"
    assert str(numeric["free_from"][1].to_pylist()) == "[0.25, -1.0, nan]"
    assert numeric["nights"][1].to_pylist() == [3.0, 1.0]
    assert str(numeric["check_in"][1].to_pylist()) == "[14.0, nan]"
    assert all_lists(slates, "categorical")["badge"].values.to_pylist() == ["new", None, "hot"]
    assert [dict(row) for row in slates["context"].to_pylist()] == [{"device": "phone"}, {"device": None}]


def test_typed_truths_and_dates_of_parquet_are_numbers(hotels):
    columns = {"id": ["h1", "h2"], "chain": ["c1", "c2"], "price": [1.0, 2.0], "stars": [3, 4], "town": ["a", "b"]}
    more = {"pool": [True, None], "opened": pa.array([10, 20], pa.date32()), "about": ["", ""]}
    pq.write_table(pa.table(columns | more), hotels.parent / "items.parquet")
    spoil(hotels, 'items.csv"', 'items.parquet"')
    spoil(hotels, '[items.dates]\nopened = "opened"', "")
    spoil(hotels, 'pool = "pool"', 'pool = "pool"\nopened = "opened"')
    first, second = map(dict, read_own(hotels).items["numeric"].to_pylist())
    assert first == {"stars": 3.0, "pool": 1.0, "opened": 10.0}
    assert second["opened"] == 20.0
    assert math.isnan(second["pool"])


MISTAKES = [
    ('ignore = ["rank"]', 'ignore = ["rnk"]', ["mapping.toml:6", "'rnk'", "Did you mean 'rank'?"]),
    ('budget = "budget"', 'stars = "budget"', ["users.numeric.stars", "under [items.numeric]", "users_stars"]),
    ('device = "device"', 'k = "device"', ["slates.context.k", "the service uses itself"]),
    ('stars = "stars"', 'stars = "star"', ["items.csv has no column 'star'", "Did you mean 'stars'?"]),
    ('stars = "stars"', 'stars = "town"', ["column town", "received 'Jeddah'"]),
    ('nights = "nights"', 'nights = "rank"', ["warning", "'r1' occurs with two values of request_numeric.nights"]),
]


@pytest.mark.parametrize(("old", "new", "parts"), MISTAKES)
def test_mistakes_in_further_columns_are_named(hotels, old, new, parts):
    lines = spoil(hotels, old, new)
    assert any(all(part in line for part in parts) for line in lines), lines


TOO_LARGE = [
    (
        "items.csv",
        "h2,c1,70,,",
        "h2,c1,70,1e39,",
        ["items.csv, column stars, row 2", "1e+39 is too large", "3.40282e+38"],
    ),
    ("shown.csv", "u2,h2,2,", "u2,h2,-inf,", ["shown.csv, column rank, row 3", "-inf is too large"]),
]


@pytest.mark.parametrize(("file", "old", "new", "parts"), TOO_LARGE)
def test_a_number_that_float32_does_not_hold_is_named(hotels, file, old, new, parts):
    (hotels.parent / file).write_text(FILES[file].replace(old, new), "utf-8")
    lines = [str(finding) for finding in check(hotels)]
    assert any(all(part in line for part in parts) for line in lines), lines
