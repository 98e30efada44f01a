"""The documentation's example is read as written; every way to spoil it gets a message that says where and what."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_slates import few

from features.catalogue import Catalogue
from marketplace.attribution import attribute
from marketplace.check import check
from marketplace.dataset import load_dataset
from marketplace.datasets.own import load_own, read_own
from marketplace.finding import DataError, Where, errors
from marketplace.schema import FEEDBACK, ITEMS, SLATE
from marketplace.slate import table_to_slates

PAGE = Path(__file__).parents[2] / "docs" / "own_data.md"
NOW = datetime(2026, 4, 1, tzinfo=UTC)


EXAMPLE = dict(re.findall(r"```(?:toml|csv)\n# (\S+)\n(.*?)```", PAGE.read_text("utf-8"), flags=re.S))


@pytest.fixture
def shop(tmp_path):
    """The page's example as files."""
    for name, text in EXAMPLE.items():
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def spoil(shop: Path, name: str, old: str, new: str) -> None:
    text = (shop / name).read_text("utf-8")
    assert old in text
    (shop / name).write_text(text.replace(old, new, 1), "utf-8")


def findings(shop: Path) -> list[str]:
    return [str(finding) for finding in check(shop / "mapping.toml", now=NOW)]


def assert_found(shop: Path, *parts: str) -> None:
    """One of the findings holds all `parts`."""
    lines = findings(shop)
    assert any(all(part in line for part in parts) for line in lines), lines


def codes_of(catalogue: Catalogue) -> dict[str, list[int]]:
    return {name: words.indices.fill_null(-1).to_pylist() for name, words in catalogue.attributes.items()}


def test_further_columns_of_items_are_kept_by_name(shop, tmp_path):
    spoil(
        shop, "mapping.toml", "[merchants] ", '[items.attributes]\nlabel = "category"\nword = "title"\n\n[merchants] '
    )
    data = read_own(shop / "mapping.toml", now=NOW)
    assert dict(data.items["attributes"][1].as_py()) == {"label": "electronics", "word": "Phone, 128 GB"}
    data.save(tmp_path / "saved")
    assert load_dataset(tmp_path / "saved").items.equals(data.items)
    catalogue = Catalogue.of(data)
    assert codes_of(catalogue) == {"label": [0, 1], "word": [0, 1]}
    some = data.items.set_column(
        data.items.column_names.index("attributes"),
        ITEMS.field("attributes"),
        pa.array([None, [("label", None), ("word", "x")]], ITEMS.field("attributes").type),
    )
    assert codes_of(Catalogue.of(replace(data, items=some.slice(0)))) == {"label": [-1, -1], "word": [-1, 0]}
    spoil(shop, "mapping.toml", 'label = "category"', 'label = "colour"')
    assert_found(shop, "products.csv has no column 'colour'")


def test_the_pages_example_is_read_as_written(shop):
    assert findings(shop) == []
    data = read_own(shop / "mapping.toml", now=NOW)
    assert (data.name, data.currency, data.notes) == ("my shop", "SAR", ())
    (slate,) = table_to_slates(data.slates)
    assert slate.time == datetime(2026, 3, 1, 15, 30, tzinfo=UTC)
    assert slate.item_id.tolist() == ["p2", "p1"]
    assert slate.merchant_id.tolist() == ["s2", "s1"]
    assert slate.price.tolist() == [899.0, 110.0]
    assert slate.position.tolist() == [1, 2]
    assert slate.context == {"country": "SA"}
    assert np.isnan(slate.propensity).all()
    assert data.items["name"].to_pylist() == ["عباءة سوداء", "Phone, 128 GB"]
    assert data.merchants["commission_rate"].to_pylist() == [0.15, 0.08]
    assert data.users["user_id"].to_pylist() == ["u1", "u2"]
    assert data.feedback["event"].to_pylist() == ["impression", "click", "order", "order"]
    assert data.feedback["detail"].to_pylist() == ["view", "click", "purchase", "purchase"]
    assert data.feedback["request_id"].to_pylist() == ["r1", "r1", "r1", None]
    assert data.feedback["time"][2].as_py() == datetime(2026, 3, 1, 15, 41, tzinfo=UTC)
    labels = attribute(data.slates, data.feedback).labels
    assert labels["order_value"].to_pylist() == [0.0, 110.0]
    assert [t.schema.names for t in (data.items, data.slates, data.feedback)] == [
        ITEMS.names,
        SLATE.names,
        FEEDBACK.names,
    ]


def test_parquet_exports_keep_their_types(shop):
    table = pa.table(
        {"sku": [1, 2], "seller": ["s1", "s2"], "price": [120, 899], "title": ["a", None], "category": ["x", "y"]}
    )
    pq.write_table(table, shop / "products.parquet")
    spoil(shop, "mapping.toml", "products.csv", "products.parquet")
    for name in ("impressions.csv", "events.csv"):
        (shop / name).write_text(re.sub(",p([12]),", r",\1,", (shop / name).read_text("utf-8")), "utf-8")
    items = read_own(shop / "mapping.toml").items
    assert items["item_id"].to_pylist() == ["1", "2"]
    assert items["price"].to_pylist() == [120.0, 899.0]


def test_impressions_in_any_order_make_the_same_slates(shop):
    straight = read_own(shop / "mapping.toml").slates
    spoil(shop, "impressions.csv", "SA\n", "SA\nr0,2026-03-01 18:00:00,u1,p1,2,5,SA\n")
    spoil(shop, "impressions.csv", "country\n", "country\nr0,2026-03-01 18:00:00,u1,p2,1,6,SA\n")
    mixed = read_own(shop / "mapping.toml").slates
    assert mixed["request_id"].to_pylist() == ["r0", "r1"]
    assert mixed["price"].to_pylist() == [[6.0, 5.0], [899.0, 110.0]]
    assert mixed.slice(1)["item_id"].to_pylist() == straight["item_id"].to_pylist()


def test_without_positions_the_files_order_counts_and_missing_prices_come_from_the_items(shop):
    spoil(shop, "mapping.toml", 'position = "slot"', "")
    spoil(shop, "mapping.toml", 'price = "price"               #', "#")
    (slate,) = table_to_slates(read_own(shop / "mapping.toml").slates)
    assert slate.position.tolist() == [1, 2]
    assert slate.price.tolist() == [899.0, 120.5]


def test_purchase_only_data_has_no_slates_and_says_so(shop):
    text = (shop / "mapping.toml").read_text("utf-8")
    (shop / "mapping.toml").write_text(re.sub(r"\[slates\].*?(?=\[feedback\])", "", text, flags=re.S), "utf-8")
    data = read_own(shop / "mapping.toml")
    assert not data.has_impressions
    assert any("No lists were recorded" in note for note in data.notes)
    assert_found(shop, "warning", "there are no slates")


MAPPING = [
    ('currency = "SAR" ', 'currency = "riyal" ', ["mapping.toml:2: error: currency", "'riyal'"]),
    (
        'currency = "SAR" ',
        'curency = "SAR" ',
        ["mapping.toml:2: error: unknown field 'curency'", "Did you mean 'currency'?"],
    ),
    (
        'price = "price"\n',
        'prise = "price"\n',
        ["mapping.toml:11: error: items.columns.prise", "Did you mean 'price'?"],
    ),
    ('item_id = "sku"\n', "", ["mapping.toml:8: error: items.columns.item_id", "is missing: unique name"]),
    ('"title"', '"titel"', ["mapping.toml:12: error", "products.csv has no column 'titel'", "Did you mean 'title'?"]),
    ("[items]", "[items", ["is not TOML", "line 5"]),
    ('purchase = "order"', 'purchase = "ordr"', ["feedback.events.purchase", "'ordr'", "Did you mean 'order'?"]),
    ('file = "events.csv"', 'file = "event.csv"', ["event.csv", "cannot be read", "Check the path"]),
    (
        'currency = "SAR" ',
        'segment = "contry"\ncurrency = "SAR" ',
        ["mapping.toml:2: error: segment", "groups no shoppers", "Did you mean 'country'?"],
    ),
    ('surface = "home" ', 'surface = "lobby" ', ["impressions.csv, surface", "'lobby' (2 rows) is no surface"]),
]


@pytest.mark.parametrize(("old", "new", "parts"), MAPPING)
def test_mistakes_in_the_mapping_are_named_by_line_and_key(shop, old, new, parts):
    spoil(shop, "mapping.toml", old, new)
    assert_found(shop, "error", *parts)
    with pytest.raises(DataError, match=re.escape(parts[-1])):
        read_own(shop / "mapping.toml")


ERRORS = [
    ("products.csv", "120.5", "cheap", ["products.csv, column price, row 1", "received 'cheap'", "Write digits"]),
    ("products.csv", "120.5", "١٢٠", ["products.csv, column price, row 1", "Write digits 0-9"]),
    ("products.csv", "899", "nan", ["products.csv, column price, row 2", "nan is no price"]),
    ("products.csv", "899", "inf", ["products.csv, column price, row 2", "inf is no price"]),
    ("products.csv", "899", "-899", ["products.csv, column price, row 2", "-899.0 is negative"]),
    ("products.csv", "899", "", ["products.csv, column price, row 2", "price is empty"]),
    ("products.csv", "p2,", "p1,", ["products.csv, column sku, row 2", "'p1' occurs before"]),
    ("products.csv", '"Phone, 128 GB"', "Phone, 128 GB", ["products.csv, row 2", "another number of columns"]),
    ("sellers.csv", "0.15", "15", ["sellers.csv, column commission, row 1", "15.0 is not in [0, 1]", "0.12"]),
    ("impressions.csv", "2026-03-01 18:30:00", "1/3/26", ["column shown_at, row 1", "'1/3/26'", "time_format"]),
    ("impressions.csv", "2026-03-01 18:30:00", "2026-02-30", ["column shown_at, row 1", "received '2026-02-30'"]),
    ("impressions.csv", "00,u1", "00,u9", ["'r1' occurs with two values of user_id", "u9 and u1"]),
    ("impressions.csv", ",1,899", ",first,899", ["impressions.csv, column slot, row 1", "received 'first'"]),
    ("impressions.csv", ",1,899", ",1.5,899", ["impressions.csv, column slot"]),
    ("events.csv", "click", "hover", ["events.csv, column kind, row 2", "'hover' is no event", "[feedback.events]"]),
    ("events.csv", ",110", ",-110", ["events.csv, column total, row 3", "-110.0 is negative", "`return` event"]),
    ("events.csv", ",110", ",NaN", ["events.csv, column total, row 3", "nan is no amount"]),
    ("events.csv", "2026-03-02", "2027-03-02", ["events.csv, column at, row 4", "lies after 2026-04-01"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "parts"), ERRORS)
def test_bad_values_are_named_by_file_and_row(shop, name, old, new, parts):
    spoil(shop, name, old, new)
    assert_found(shop, "error", *parts)
    with pytest.raises(DataError):
        read_own(shop / "mapping.toml", now=NOW)


WARNINGS = [
    ("events.csv", "e2,", "e1,", ["events.csv, column event_id, row 2", "'e1' occurs before"]),
    (
        "events.csv",
        "2026-03-01 18:30:09",
        "2026-03-01 18:29:00",
        ["events.csv, column at, row 2", "lies before its slate"],
    ),
    ("events.csv", "e2,r1", "e2,r7", ["events.csv, column request, row 2", "'r7' is no known request"]),
    ("events.csv", "u1,p1,110", "u1,p7,110", ["events.csv, column sku, row 3", "'p7' is no known item"]),
    ("events.csv", ",110", ",", ["events.csv, column total, row 3", "is empty for an order"]),
    ("impressions.csv", ",2,110", ",1,110", ["impressions.csv, column slot, row 2", "1 is taken in this request"]),
    ("impressions.csv", "p1,2", "p2,2", ["impressions.csv, column sku, row 2", "'p2' occurs twice in a request"]),
    ("impressions.csv", "p1,2", "p9,2", ["impressions.csv, column sku, row 2", "'p9' is no known item"]),
    ("impressions.csv", "2026-03-01 18:30:00", "2026-03-01 18:30:01", ["'r1' occurs with two values of time"]),
    ("impressions.csv", "2026-03-01 18:30:00", "1970-03-01 18:30:00", ["lies before 1990"]),
    ("products.csv", "p2,s2", "p2,s9", ["products.csv, column seller, row 2", "'s9' is no known merchant"]),
]


def test_whatever_cannot_be_read_is_named_at_once(shop):
    spoil(shop, "products.csv", "120.5", "1,200.5".replace(",", "."))
    spoil(shop, "products.csv", "p2,s2,899", "p2,s2,")
    spoil(shop, "mapping.toml", 'category = "category"\n', 'category = "category"\n[items.numeric]\nstars = "title"\n')
    spoil(shop, "events.csv", "click", "hover")
    spoil(shop, "events.csv", "e1,r1,view", "e1,r1,peek")
    spoil(shop, "impressions.csv", "u1,p2,1", "u1,p2,first")
    found = {f"{finding.where.file}: {finding.where.part}" for finding in load_own(shop / "mapping.toml", now=None)[1]}
    assert found >= {
        "products.csv: column price",
        "products.csv: column title",
        "events.csv: column kind",
        "impressions.csv: column slot",
    }


def test_an_empty_cell_is_found_beside_an_unreadable_one(shop):
    spoil(shop, "products.csv", "120.5", "cheap")
    spoil(shop, "products.csv", "p2,s2,899", "p2,s2,")
    reasons = [finding.reason for finding in load_own(shop / "mapping.toml", now=None)[1]]
    assert "wanted a number, received 'cheap'." in reasons
    assert "price is empty." in reasons


def test_words_of_a_shop_for_surfaces_are_translated_and_unknown_ones_are_named_together(shop):
    spoil(shop, "mapping.toml", '[slates.constants]\nsurface = "home" ', '[slates.surfaces]\nHOMEPAGE = "home" ')
    spoil(shop, "mapping.toml", 'position = "slot"', 'surface = "country"\nposition = "slot"')
    assert_found(
        shop, "error", "impressions.csv, column country, row 1", "'SA' (2 rows) is no surface", "[slates.surfaces]"
    )
    spoil(shop, "mapping.toml", 'HOMEPAGE = "home"', 'SA = "search"')
    assert read_own(shop / "mapping.toml").slates["surface"].to_pylist() == ["search"]
    spoil(shop, "mapping.toml", 'SA = "search"', 'SA = "serch"')
    assert_found(shop, "error", "slates.surfaces.SA", "is 'serch', which is no surface", "Did you mean 'search'?")


def test_all_words_that_are_no_event_are_named_with_their_rows(shop):
    spoil(shop, "events.csv", "click", "hover")
    spoil(shop, "events.csv", "e1,r1,view", "e1,r1,hover")
    spoil(shop, "events.csv", "e3,r1,purchase", "e3,r1,swipe")
    assert_found(
        shop, "error", "column kind, row 1", "'hover' (2 rows), 'swipe' are no events.", "lines such as 'hover'"
    )


@pytest.mark.parametrize(("name", "old", "new", "parts"), WARNINGS)
def test_odd_values_are_warned_of_and_still_read(shop, name, old, new, parts):
    spoil(shop, name, old, new)
    assert_found(shop, "warning", *parts)
    assert load_own(shop / "mapping.toml", now=NOW)[0] is not None


def test_a_row_is_the_files_even_where_the_table_is_sorted(shop):
    spoil(shop, "events.csv", "e2,r1,click,2026-03-01 18:30:09", "e2,r1,click,2026-03-03 18:30:09")
    spoil(shop, "events.csv", "e4,,purchase", "e4,r8,purchase")
    assert_found(shop, "events.csv, column request, row 4", "'r8' is no known request")


def test_currencies_are_not_mixed(shop):
    spoil(shop, "mapping.toml", 'amount = "total"', 'amount = "total"\ncurrency = "money"')
    spoil(shop, "events.csv", "total", "total,money")
    for row in ("p1,\n", "p1,\n", ",110\n"):
        spoil(shop, "events.csv", row, row[:-1] + ",SAR\n")
    spoil(shop, "events.csv", ",899\n", ",899,AED\n")
    assert_found(shop, "error", "events.csv, column money, row 4", "'AED' is not the data set's SAR", "[currencies]")


def test_times_without_zone_need_one(shop):
    spoil(shop, "mapping.toml", 'time_zone = "Asia/Riyadh"', "")
    assert_found(shop, "error", "column shown_at, row 1", "times without a time zone", 'time_zone = "Asia/Riyadh"')
    assert_found(shop, "error", "events.csv, column at, row 1", "(3 rows)")


def test_an_unknown_time_zone_is_named(shop):
    spoil(shop, "mapping.toml", "Asia/Riyadh", "Asia/Ryadh")
    assert_found(shop, "error", "mapping.toml:3: error", "time_zone", "Asia/Ryadh")


def test_names_that_are_not_utf8_are_named_and_can_be_decoded(shop):
    text = (shop / "products.csv").read_text("utf-8")
    (shop / "products.csv").write_bytes(text.encode("windows-1256"))
    assert_found(shop, "error", "products.csv, column title, row 1", "not UTF-8", "encoding", "windows-1256")
    spoil(shop, "mapping.toml", '"products.csv"', '"products.csv"\nencoding = "windows-1256"')
    assert read_own(shop / "mapping.toml").items["name"].to_pylist()[0] == "عباءة سوداء"
    spoil(shop, "mapping.toml", "windows-1256", "windows-9999")
    assert_found(shop, "error", "products.csv", "unknown encoding: windows-9999")


@pytest.mark.parametrize("text", ["", "sku,seller,price,title,category\n"])
def test_empty_files_are_said_so(shop, text):
    (shop / "products.csv").write_text(text)
    assert_found(shop, "error", "products.csv")


def test_broken_parquet_and_nested_columns_are_said_so(shop):
    spoil(shop, "mapping.toml", "products.csv", "products.parquet")
    (shop / "products.parquet").write_bytes(b"PAR1 and then nothing")
    assert_found(shop, "error", "products.parquet", "cannot be read")
    columns = {"sku": ["p1"], "seller": ["s1"], "price": [[1.0]], "title": ["t"], "category": ["c"]}
    pq.write_table(pa.table(columns), shop / "products.parquet")
    assert_found(shop, "error", "products.parquet, column price", "holds list<")


@pytest.mark.parametrize("before", [b"", b"\n"])
def test_a_header_that_is_not_utf8_is_said_so(shop, before):
    (shop / "products.csv").write_bytes(before + b"\xff" + (shop / "products.csv").read_bytes())
    assert_found(shop, "error", "products.csv", "cannot be read", "can't decode byte 0xff", "Save it as UTF-8")


def test_broken_rows_that_are_not_utf8_are_not_lost(shop):
    text = (shop / "products.csv").read_text("utf-8").replace("120.5,", "120.5,extra,")
    (shop / "products.csv").write_bytes(text.encode("windows-1256"))
    assert_found(shop, "error", "products.csv", "Expected 5 columns, got 6")


SNIPPETS = [b"", b",", b'"', b"\n", b"\xff", b"\x00", b"nan", b"1e400", b"9" * 40, b"[x]\n", b"=", b"0001-01-01", b"\r"]


@settings(few, max_examples=60)
@given(
    name=st.sampled_from([*EXAMPLE]),
    edits=st.lists(st.tuples(st.floats(0, 1), *[st.sampled_from(SNIPPETS)] * 2), max_size=3),
)
def test_whatever_is_in_the_files_checking_ends_with_findings(tmp_path, name, edits):
    for example, text in EXAMPLE.items():
        (tmp_path / example).write_text(text, "utf-8")
    spoiled = EXAMPLE[name].encode()
    for at, before, after in edits:
        cut = int(at * len(spoiled))
        spoiled = spoiled[:cut] + before + after + spoiled[cut + len(after) :]
    (tmp_path / name).write_bytes(spoiled)
    findings = check(tmp_path / "mapping.toml", now=NOW)
    assert all(finding.reason and finding.fix and finding.where.file for finding in findings)
    if errors(findings):
        with pytest.raises(DataError):
            read_own(tmp_path / "mapping.toml", now=NOW)
    else:
        read_own(tmp_path / "mapping.toml", now=NOW)


KINDS = {
    "numbers": pa.array([1.5, np.nan]),
    "bytes": pa.array([b"\xff", b"ok"]),
    "days": pa.array([1, 2], pa.date32()),
    "nanoseconds": pa.array([1, 2], pa.timestamp("ns")),
    "huge": pa.array([2**62, 2**62]),
    "nothing": pa.nulls(2),
    "lists": pa.array([[1], [2]]),
    "structs": pa.array([{"a": 1}, {"a": 2}]),
    "durations": pa.array([1, 2], pa.duration("s")),
    "dictionary": pa.array(["a", "b"]).dictionary_encode(),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("column", ["request", "shown_at", "price", "slot"])
def test_whatever_type_a_parquet_column_has_checking_ends_with_findings(shop, kind, column):
    table = pacsv.read_csv(shop / "impressions.csv")
    table = table.set_column(table.column_names.index(column), column, KINDS[kind])
    pq.write_table(table, shop / "impressions.parquet")
    spoil(shop, "mapping.toml", "impressions.csv", "impressions.parquet")
    for finding in errors(check(shop / "mapping.toml", now=NOW)):
        assert finding.where.file.startswith(("impressions.parquet", "events.csv"))


def test_a_missing_mapping_is_said_so(tmp_path):
    assert "cannot be read" in findings(tmp_path)[0]


def test_data_sets_are_checked_as_well_and_errors_come_first(shop):
    data = read_own(shop / "mapping.toml")
    assert check(data, now=NOW) == []
    price = data.items.set_column(data.items.column_names.index("price"), ITEMS.field("price"), [[np.nan, 1.0]])
    spoiled = replace(data, items=price, users=data.users.slice(1))
    findings = check(spoiled, now=NOW)
    assert findings[0].severity == "error"
    assert findings[0].where == Where("items", part="price", row=1)
    assert findings[-1].severity == "warning"
    empty = replace(
        data, items=data.items.slice(0, 0), slates=data.slates.slice(0, 0), feedback=data.feedback.slice(0, 0)
    )
    found = {finding.reason: finding.severity for finding in check(empty)}
    assert found["there are no items."] == "error"
    assert (
        found["there are neither slates nor feedback: a run can serve the catalogue, and learns nothing."] == "warning"
    )
