from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_slates import make_slate

from marketplace.catalogue_records import CatalogueUpdate, Fate, Subject
from marketplace.log import CatalogueMoved, DuplicateRequest
from marketplace.memory_log import MemoryLog
from marketplace.sqlite_log import SqliteLog

NOW = datetime(2026, 3, 1, tzinfo=UTC)
NEW = {"merchant_id": "m", "category": "tea", "price": 9.5}


@pytest.fixture(params=["memory", "sqlite", pytest.param("clickhouse", marks=pytest.mark.xdist_group("clickhouse"))])
def log(request, tmp_path):
    if request.param == "clickhouse":
        yield request.getfixturevalue("clickhouse_log")
        return
    made = MemoryLog() if request.param == "memory" else SqliteLog(tmp_path / "log.sqlite")
    yield made
    made.close()


def put(log, name, version=None, *, known=(), time=NOW, **values):
    receipt = log.put_catalogue(Subject.ITEM, [CatalogueUpdate(name, values, version)], known=known, time=time)
    return receipt.fates[0]


def state(log, name):
    """Field -> (value, version) of one record."""
    (record,) = (one for one in log.catalogue_after(0)[0] if one.name == name)
    return {field: (cell.value, cell.version) for field, cell in record.fields.items()}


def test_the_newest_version_of_each_field_stands_whatever_the_order(log):
    assert put(log, "a", 5, known={"a"}, price=10.0, in_stock=True) is Fate.ACCEPTED
    assert put(log, "a", 4, known={"a"}, price=8.0) is Fate.STALE
    assert put(log, "a", 5, known={"a"}, price=9.0) is Fate.STALE
    assert put(log, "a", 4, known={"a"}, price=8.0, hidden=True) is Fate.ACCEPTED
    assert state(log, "a") == {"price": (10.0, 5), "in_stock": (True, 5), "hidden": (True, 4)}


def test_a_repeat_changes_nothing(log):
    put(log, "a", 1, known={"a"}, price=10.0)
    before = log.catalogue_after(0)
    assert put(log, "a", 1, known={"a"}, price=10.0) is Fate.STALE
    assert log.catalogue_after(0) == before


def test_an_update_without_a_version_is_later_than_all_that_is_known(log):
    put(log, "a", 70, known={"a"}, price=10.0)
    assert put(log, "a", known={"a"}, removed=True) is Fate.ACCEPTED
    assert put(log, "a", 70, known={"a"}, removed=False) is Fate.STALE
    assert put(log, "a", 72, known={"a"}, removed=False) is Fate.ACCEPTED


def test_an_item_that_nobody_knows_begins_with_enough_and_is_launched_when_recorded(log):
    assert put(log, "new", 1, price=9.5) is Fate.UNKNOWN
    assert log.catalogue_after(0) == ([], 0)
    assert put(log, "new", 1, **NEW) is Fate.ACCEPTED
    assert state(log, "new")["available_from"] == (int(NOW.timestamp() * 1e6), 1)
    assert put(log, "new", 2, price=8.0) is Fate.ACCEPTED


def test_what_a_former_bundle_knew_begins_anew_with_what_is_missing(log):
    """Its record holds a price alone; with a merchant and a category it stands, numbered after those that stood."""
    put(log, "gone", 1, known={"gone"}, price=9.5)
    put(log, "other", 1, **NEW)
    assert put(log, "gone", 2, price=7.0) is Fate.UNKNOWN
    assert put(log, "gone", 2, merchant_id="m", category="tea") is Fate.ACCEPTED
    assert [one.name for one in log.catalogue_after(0)[0]] == ["other", "gone"]


def test_readers_get_what_changed_since_in_the_order_of_beginning(log):
    put(log, "a", 1, **NEW)
    put(log, "b", 1, **NEW)
    _, mark = log.catalogue_after(0)
    put(log, "c", 1, **NEW)
    put(log, "a", 2, price=1.0)
    records, later = log.catalogue_after(mark)
    assert [one.name for one in records] == ["a", "c"]
    assert later > mark
    assert log.catalogue_after(later) == ([], later)


@pytest.mark.parametrize("log", ["memory", "sqlite"], indirect=True)
def test_a_slate_is_not_stored_when_the_catalogue_moved_under_it(log):

    _, mark = log.catalogue_after(0)
    log.append(make_slate("first"), catalogue=mark)
    put(log, "a", 1, known={"a"}, price=3.0)
    with pytest.raises(CatalogueMoved):
        log.append(make_slate("second"), catalogue=mark)
    _, mark = log.catalogue_after(mark)
    log.append(make_slate("second"), catalogue=mark)
    with pytest.raises(DuplicateRequest):
        log.append(make_slate("second"), catalogue=mark)
    assert len(log.slates()) == 2


def test_records_outlive_the_process_and_are_the_same_to_every_reader(tmp_path):
    log, other = SqliteLog(tmp_path / "log.sqlite"), SqliteLog(tmp_path / "log.sqlite")
    put(log, "a", 1, **NEW, attributes={"brand": "شاي"})
    assert other.catalogue_after(0) == log.catalogue_after(0)
    expected = log.catalogue_after(0)
    log.close()
    other.close()
    assert SqliteLog(tmp_path / "log.sqlite").catalogue_after(0) == expected


updates = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.integers(0, 6),
        st.dictionaries(st.sampled_from(["price", "hidden", "in_stock"]), st.integers(0, 1), min_size=1),
    ),
    max_size=12,
)


@given(updates, st.randoms())
@settings(max_examples=60, deadline=None)
def test_any_order_and_any_repeats_of_deliveries_give_the_same_state(deliveries, random):
    """One source: a version says the same whenever it is sent."""
    sent = {}
    deliveries = [
        (name, version, {field: sent.setdefault((name, version, field), value) for field, value in values.items()})
        for name, version, values in deliveries
    ]
    again = [*deliveries, *deliveries[:4]]
    random.shuffle(again)
    states = []
    for order in (deliveries, again):
        log = MemoryLog()
        for place, (name, version, values) in enumerate(order):
            put(log, name, version, known={"a", "b"}, time=NOW + timedelta(seconds=place), **values)
        states.append({one.name: state(log, one.name) for one in log.catalogue_after(0)[0]})
    assert states[0] == states[1]
