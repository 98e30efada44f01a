"""What a mapping can say of an export: labels, ignored events, currencies, anonymous shoppers, orders, positions."""

from datetime import UTC, datetime

import pytest

from marketplace.attribution import attribute
from marketplace.check import check
from marketplace.datasets.own import read_own

MAPPING = """
name = "shop"
currency = "SAR"
time_zone = "Asia/Riyadh"
[currencies]
USD = 3.75
[items]
file = "items.csv"
[items.columns]
item_id = "sku"
merchant_id = "seller"
price = "price"
currency = "money"
cost = "cost"
[slates]
file = "shown.csv"
time_format = "epoch_s"
[slates.columns]
request_id = "request"
time = "at"
user_id = "user"
session_id = "visit"
item_id = "sku"
position = "slot"
price = "price"
[slates.labels]
click = "clicked"
order = "booked"
amount = "paid"
[feedback]
file = "events.csv"
time_zone = "UTC"
[feedback.columns]
event = "kind"
time = "at"
user_id = "user"
session_id = "visit"
item_id = "sku"
order_id = "order"
quantity = "pieces"
unit_price = "each"
[feedback.events]
buy = "order"
hover = "ignore"
"""
FILES = {
    "mapping.toml": MAPPING,
    "items.csv": "sku,seller,price,money,cost\na,s,100,SAR,60\nb,s,10,USD,\n",
    "shown.csv": "request,at,user,visit,sku,slot,price,clicked,booked,paid\n"
    "r1,1772377200,u1,v1, a ,1,90,yes,no,\nr1,1772377200,u1,v1,b,2,,no,yes,30\nr2,1772380800,,v2,a,1,90,no,no,\n",
    "events.csv": "kind,at,user,visit,sku,order,pieces,each\n"
    "buy,2026-03-02 10:00:00,u1,v3,a,o1,2,40\nbuy,2026-03-02 10:00:00,u1,v3,b,o1,3,\n"
    "buy,2026-03-02 10:00:00,u1,v3,a,o1,2,40\nbuy,2026-03-03 10:00:00,u1,v3,a,o2,-1,40\n"
    "hover,2026-03-03 10:00:00,u1,v3,a,,,\nview,2026-03-03 10:00:00,,v4,a,,,\n",
}


@pytest.fixture
def shop(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def spoil(shop, name, old, new):
    text = (shop / name).read_text("utf-8")
    assert old in text
    (shop / name).write_text(text.replace(old, new), "utf-8")
    return [str(finding) for finding in check(shop / "mapping.toml")]


def test_costs_are_margins_and_other_currencies_are_converted(shop):
    data = read_own(shop / "mapping.toml")
    assert data.items["price"].to_pylist() == [100.0, 37.5]
    assert set(data.items["currency"].to_pylist()) == {"SAR"}
    assert data.items["margin"].to_pylist() == [0.4, None]
    assert data.slates["price"].to_pylist() == [[90.0, 37.5], [90.0]]
    lines = spoil(shop, "mapping.toml", "USD = 3.75", "AED = 1.02")
    assert any("'USD' is not the data set's SAR" in line for line in lines)


def test_a_mapping_may_say_that_nothing_can_still_come(shop):
    assert not read_own(shop / "mapping.toml").closed
    (shop / "mapping.toml").write_text("closed = true\n" + (shop / "mapping.toml").read_text("utf-8"), "utf-8")
    assert read_own(shop / "mapping.toml").closed


def test_labels_of_impressions_are_events_at_their_slates_time(shop):
    data = read_own(shop / "mapping.toml")
    assert data.slates["time"][0].as_py() == datetime(2026, 3, 1, 15, tzinfo=UTC)
    labels = attribute(data.slates, data.feedback).labels
    assert labels["click"].to_pylist() == [True, True, False]
    assert labels["order"].to_pylist() == [False, True, False]
    assert labels["order_value"].to_pylist() == [0.0, 30.0, 0.0]
    rows = [row for row in data.feedback.to_pylist() if row["request_id"] == "r1"]
    assert {row["feedback_id"] for row in rows} == {"r1:a:click", "r1:b:order"}
    assert {row["user_id"] for row in rows} == {"u1"}


def test_lines_of_an_order_have_its_name_their_pieces_and_count_once(shop):
    logged = [row for row in read_own(shop / "mapping.toml").feedback.to_pylist() if row["request_id"] is None]
    assert [(row["event"], row["item_id"], row["amount"]) for row in logged] == [
        ("order", "a", 80.0),
        ("order", "b", 3 * 37.5),
        ("order", "a", 80.0),
        ("return", "a", 40.0),
        ("view", "a", None),
    ]
    ids = [row["feedback_id"] for row in logged]
    assert ids[0] == ids[2]
    assert len(set(ids)) == 4
    assert logged[0]["time"] == datetime(2026, 3, 2, 10, tzinfo=UTC)


def test_what_is_ignored_or_stands_in_is_counted_in_the_notes(shop):
    data = read_own(shop / "mapping.toml")
    assert data.slates["user_id"].to_pylist() == ["u1", "session:v2"]
    assert data.feedback["user_id"].to_pylist()[-1] == "session:v4"
    notes = "\n".join(data.notes)
    assert "1 rows of slates name no shopper" in notes
    assert "1 rows of feedback name no shopper" in notes
    assert "1 candidates without a price have their item's" in notes
    assert "1 events are ignored" in notes
    assert "1 order lines of a negative quantity are returns" in notes


def test_places_that_count_from_0_are_found_or_read_as_the_mapping_says(shop):
    for old, new in ((" a ,1,", " a ,0,"), ("b,2,", "b,1,"), ("a,1,90,no", "a,0,90,no")):
        lines = spoil(shop, "shown.csv", old, new)
    assert any("in 2 of 2 requests one item stands at 0" in line and "first_position = 0" in line for line in lines)
    assert spoil(shop, "mapping.toml", '"shown.csv"', '"shown.csv"\nfirst_position = 0') is not None
    assert read_own(shop / "mapping.toml").slates["position"].to_pylist() == [[1, 2], [1]]


def test_ids_that_were_read_as_decimals_are_an_error_with_cause_and_fix(shop):
    for file, old, new in (("items.csv", "\na,", "\n1,"), ("items.csv", "\nb,", "\n2,")):
        spoil(shop, file, old, new)
    for old, new in ((" a ", "1.0"), (",b,", ",2.0,"), (",a,", ",1.0,")):
        lines = spoil(shop, "shown.csv", old, new)
    found = next(line for line in lines if "shown.csv, column sku" in line)
    assert "error: '1.0' is no known item: ids were read as decimals" in found
    assert "(3 rows, 100.00%)" in found
    assert "dtype=str" in found
    assert any("events.csv" in line and "error: 'a' is no known item (5 rows, 71.43%)" in line for line in lines), lines
