"""The catalogue that moves, against a bundle of a small market; its item tower is the bundle's own."""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.catalogue import Catalogue
from features.spec import Group, Kind
from jobs.replay import store_skew
from marketplace.catalogue_records import CatalogueUpdate, Fate, Subject
from marketplace.memory_log import MemoryLog
from marketplace.sqlite_log import SqliteLog
from marketplace.updated_catalogue import moved_items, moved_merchants, updated
from retrieval.candidates import Query
from retrieval.config import RetrievalConfig
from retrieval.sources.page_neighbours import PageNeighbours
from serving.app import create_app
from serving.bundle import build_engine
from serving.item_table import ItemTable
from serving.replay import replay
from serving.request import Request, UnknownName
from value_model.slate_policies.diversity import MMR, Similarity
from value_model.slate_policies.plackett_luce import PlackettLuce
from value_model.slate_policies.rules import CategoryCap, MerchantCap, Newcomers, NewItems
from value_model.slate_policies.slate_section import SlateSection

RULED = SlateSection(
    rules=(MerchantCap(2), CategoryCap(3), Newcomers(1), NewItems(30, 0.2, 3)),
    diversity=MMR(0.05, Similarity(merchant=0.25, category=0.25, embedding=0.5)),
    exploration=PlackettLuce(0.05),
)

LAGGING = {"impressions", "pair_unheeded", "ctr_smoothed", "order_rate_smoothed"}  # by what was shown just before
LAGGING |= {"category_ctr", "segment_ctr", "segment_order_rate"}


@pytest.fixture
def now(bundle):
    return datetime.fromisoformat(str(bundle.manifest.facts["known_until"])) + timedelta(days=1)


@pytest.fixture
def engine(bundle):
    return build_engine(bundle, log=MemoryLog())


def put(engine, name, version=None, /, *, time, subject=Subject.ITEM, **values):
    return engine.put_catalogue(subject, [CatalogueUpdate(name, values, version)], time=time).fates[0]


def ask(engine, time, number=0, **changes):
    fields = {"request_id": f"r{number}", "time": time, "surface": "home", "user_id": "u", "k": 10}
    return engine.rank(Request(**fields | changes))


def shown(ranking):
    slate = ranking.slate
    return slate.item_id[slate.position > 0].tolist()


def new_item(bundle, **changes):
    like = bundle.catalogue.items.slice(3, 1).to_pylist()[0]
    return {name: like[name] for name in ("merchant_id", "category", "name")} | {"price": 20.0} | changes


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"hidden": True}, "hidden"),
        ({"blocked": True}, "blocked"),
        ({"removed": True}, "removed"),
        ({"in_stock": False}, "out of stock"),
        ({"expires_at": 1}, "expired"),
        ({"available_from": 4_000_000_000_000_000}, "not launched"),
    ],
)
def test_what_may_not_be_shown_is_not_and_rank_names_it(engine, now, values, reason):
    first, other = shown(ask(engine, now, 1))[:2]
    assert put(engine, first, 1, time=now, **values) is Fate.ACCEPTED
    assert first not in ask(engine, now, 2).slate.item_id
    ranking = ask(engine, now, 3, candidates=(first, other, "nobody's"))
    assert shown(ranking) == [other]
    assert ranking.unavailable_candidates == {first: reason}
    assert ranking.unknown_candidates == ("nobody's",)
    with pytest.raises(UnknownName, match=f"{first} is {reason}"):
        ask(engine, now, 4, candidates=(first,))


def test_times_open_and_close_by_themselves(engine, bundle, now):
    microseconds = int(now.timestamp() * 1e6)
    window = {"available_from": microseconds + 3_600_000_000, "expires_at": microseconds + 7_200_000_000}
    put(engine, "timed", 1, time=now, **new_item(bundle, **window))
    candidates = ("timed", bundle.catalogue.items["item_id"][5].as_py())
    seen = [
        "timed" in ask(engine, now + timedelta(minutes=minutes), minutes, candidates=candidates).slate.item_id
        for minutes in (0, 59, 60, 119, 120, 90)
    ]
    assert seen == [False, False, True, True, False, True]


def test_a_blocked_merchant_shows_nothing_until_it_is_let_back(engine, now):
    ranking = ask(engine, now, 1)
    item, merchant = ranking.slate.item_id[0], ranking.slate.merchant_id[0]
    page = {"surface": "store_page", "page_merchant_id": merchant}
    assert len(ask(engine, now, 2, **page).slate)
    put(engine, merchant, 1, time=now, subject=Subject.MERCHANT, blocked=True)
    assert merchant not in ask(engine, now, 3).slate.merchant_id
    assert len(ask(engine, now, 4, **page).slate) == 0
    put(engine, "begun there", 1, time=now, merchant_id=merchant, category="tea", price=3.0)
    with pytest.raises(UnknownName, match="merchant blocked"):
        ask(engine, now, 5, candidates=(item, "begun there"))
    put(engine, merchant, 2, time=now, subject=Subject.MERCHANT, blocked=False)
    assert set(shown(ask(engine, now, 6, candidates=(item, "begun there")))) == {item, "begun there"}


def test_a_price_that_moved_is_shown_valued_and_logged(engine, now):
    item = shown(ask(engine, now, 1))[0]
    put(engine, item, 1, time=now, price=123.0)
    slate = ask(engine, now, 2, candidates=(item,)).slate
    assert slate.price.tolist() == [123.0]
    assert slate.numeric["price"].tolist() == [123.0]


def test_a_new_item_is_found_by_its_content_and_has_its_place(engine, bundle, now):
    """What it is near to, the source that it comes from, its features; its words are those of an item of the bundle."""
    put(engine, "new", 1, time=now, **new_item(bundle))
    parts, index = engine.parts, engine.live.parts.index
    row = parts.item_table.row["new"]
    place = index.embeddings[row]
    assert np.isclose(np.linalg.norm(place), 1, atol=1e-3)
    allowed = engine.live.parts.availability.mask(int(now.timestamp() * 1e6))
    settings_ = {"k": 20, "allowed": allowed, "exclude": np.zeros(0, np.int32)}
    rows, products = index.nearest(place, **settings_)
    assert rows[0] == row
    exact = np.flatnonzero(allowed)[np.argsort(-(index.embeddings[allowed] @ place), kind="stable")[:20]]
    assert set(rows) == set(exact)
    assert np.all(np.diff(products) <= 0)
    slate = ask(engine, now, 1, k=200).slate
    assert "new" in slate.item_id
    at = list(slate.item_id).index("new")
    assert slate.price[at] == 20.0
    assert slate.numeric["popularity"][at] == 0.0
    assert slate.numeric["age_days"][at] == 0.0
    assert np.isfinite(slate.value[at])


def test_the_page_of_a_new_item_shows_what_is_near_to_it(engine, bundle, now):
    """Sources that learned before it began know nothing of it; the index does."""
    put(engine, "new", 1, time=now, **new_item(bundle))
    assert len(shown(ask(engine, now, surface="product_page", page_item_id="new"))) == 10
    index, row = engine.live.parts.index, engine.parts.item_table.row["new"]
    allowed = engine.live.parts.availability.mask(int(now.timestamp() * 1e6))
    nearest, _ = index.nearest(index.embeddings[row], k=3, allowed=allowed, exclude=np.array([row]))
    page = Query("u", "", np.zeros(0, np.int32), allowed=allowed, time=0).on_page_of(row)
    np.testing.assert_array_equal(PageNeighbours(index).propose(page, k=3)[0], nearest)


def test_metrics_tell_how_the_index_keeps_up(engine, bundle, now, monkeypatch):
    client, index = create_app(engine, clock=lambda: now).test_client(), engine.live.parts.index

    def told():
        lines = (line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if "_index_" in line)
        return {name.removeprefix("value_model_index_"): float(value) for name, value in lines if name[0] != "#"}

    assert np.isnan(told()["recall"])
    put(engine, "new", 1, time=now, **new_item(bundle))
    place = index.embeddings[engine.parts.item_table.row["new"]]
    for _ in range(RetrievalConfig().watch_every):
        index.nearest(place, k=5, allowed=None, exclude=np.zeros(0, np.int32))
    assert told() == {"recall": 1, "recall_gate": index.report.gate, "rebuilds": 0, "rebuild_failed": 0}
    index.rebuild()
    index.wait()
    after = told()
    assert (after["rebuilds"], after["rebuild_failed"]) == (1, 0)
    monkeypatch.setattr("retrieval.moving_index.rebuilt", broken)
    index.rebuild()
    index.wait()
    assert (told()["rebuilds"], told()["rebuild_failed"]) == (1, 1)


def broken(*_, **__):
    raise OSError("no room on the disk")


def test_a_search_finds_new_words_at_once_and_old_ones_no_more(engine, bundle, now):
    put(engine, "new", 1, time=now, **new_item(bundle, name="zanzibari qahwa مبخرة"))
    for number, query in enumerate(("zanzibari", "مَبخره", "zanzibari qahwa")):
        assert shown(ask(engine, now, number, surface="search", query=query))[0] == "new"
    put(engine, "new", 2, time=now, name="something else")
    assert ask(engine, now, "renamed", surface="search", query="zanzibari").slate.match == "none"
    put(engine, "new", 3, time=now, name="zanzibari", hidden=True)
    assert "new" not in shown(ask(engine, now, "hidden", surface="search", query="zanzibari"))


def test_events_of_a_new_item_are_counted_in_every_worker(bundle, now, tmp_path):
    from test_following import event

    first, second = (build_engine(bundle, log=SqliteLog(tmp_path / "log.sqlite")) for _ in range(2))
    put(first, "new", 1, time=now, **new_item(bundle))
    click = event("click")
    click = click.set_column(click.column_names.index("item_id"), "item_id", [["new"]]).cast(click.schema)
    click = click.set_column(click.column_names.index("time"), click.schema.field("time"), [[now]])
    second.record(click)
    later = now + timedelta(minutes=1)
    for number, one in enumerate((first, second, build_engine(bundle, log=first.log))):
        one._follower.follow(at_once=True)
        slate = ask(one, later, number, candidates=("new",), user_id="someone")
        assert slate.slate.numeric["popularity"][0] > 0


def test_a_worker_that_starts_again_serves_the_same_catalogue(bundle, now, tmp_path):
    log = SqliteLog(tmp_path / "log.sqlite")
    engine = build_engine(bundle, log=log)
    change_much(engine, bundle, now)
    same_catalogue(engine, build_engine(bundle, log=log))


def test_the_rows_are_those_of_a_catalogue_made_from_the_updated_tables(engine, bundle, now):
    """The slow way: the data set's tables with every update in them, encoded as a whole."""
    change_much(engine, bundle, now)
    records = engine.log.catalogue_after(0)[0]
    items, merchants = ([one for one in records if one.subject is subject] for subject in Subject)
    old, currency = bundle.catalogue, bundle.catalogue.currency
    moved = moved_items(old.items, items, currency=currency, since=0)
    dataset = replace(
        old,
        items=updated(old.items, moved, key="item_id"),
        merchants=moved_merchants(old.merchants, merchants, since=0),
    )
    table, expected = engine.parts.item_table, ItemTable.of(Catalogue.of(dataset), encoder=bundle.encoder)
    rows = table.rows(expected.item_id)
    assert len(rows) == len(expected) == len(old.items) + 2
    for name in ("merchant_id", "price"):
        assert np.array_equal(getattr(table, name)[rows], getattr(expected, name))
    assert np.array_equal(table.encoded.codes[rows], expected.encoded.codes)
    assert np.array_equal(table.encoded.lists[rows], expected.encoded.lists)
    features = bundle.encoder.spec.select(Group.ITEM, Kind.NUMBER)
    for column, name in enumerate(feature.name for feature in features):
        if name != "price_to_category":  # the category's mean is that of the bundle
            assert np.array_equal(table.numbers[rows, column], expected.numbers[:, column], equal_nan=True), name
    for name, logged in table.logged.items():
        assert logged[rows].tolist() == expected.logged[name].tolist()


def change_much(engine, bundle, now):
    ids = bundle.catalogue.items["item_id"].to_pylist()
    put(engine, "new", 1, time=now, **new_item(bundle, attributes={"brand": "Nadir"}))
    put(engine, "newer", 1, time=now, merchant_id="new merchant", category="new category", price=3.0, name="شاي أخضر")
    put(engine, ids[0], 1, time=now, price=7.5, hidden=True)
    put(engine, ids[1], 1, time=now, name="green tea with mint", category="new category")
    put(engine, ids[2], 1, time=now, merchant_id="new merchant", in_stock=False)
    put(engine, "new", 2, time=now, price=21.0)
    rates = {"commission_rate": 0.2, "quality": 0.9, "return_rate": 0.01, "refusal_rate": 0.02}
    put(engine, "new merchant", 1, time=now, subject=Subject.MERCHANT, **rates)
    other = bundle.catalogue.items["merchant_id"][9].as_py()
    put(engine, other, 1, time=now, subject=Subject.MERCHANT, quality=0.25)


def same_catalogue(one, other):
    for name in ("item_id", "merchant_id", "merchant", "price"):
        assert np.array_equal(getattr(one.parts.item_table, name), getattr(other.parts.item_table, name)), name
    assert np.array_equal(one.parts.item_table.numbers, other.parts.item_table.numbers, equal_nan=True)
    assert np.array_equal(one.parts.item_table.encoded.lists, other.parts.item_table.encoded.lists)
    assert np.array_equal(one.live.parts.availability.hindrances, other.live.parts.availability.hindrances)
    assert np.array_equal(one.live.parts.index.embeddings, other.live.parts.index.embeddings)
    assert np.array_equal(one.live.parts.merchants.rows, other.live.parts.merchants.rows)


def test_a_new_bundle_takes_over_without_going_back_in_time(bundle, now):
    """It knows what was recorded before its own time: an older price does not come back, what it cannot know stays."""
    log, first = MemoryLog(), bundle.catalogue.items["item_id"][0].as_py()
    old = build_engine(bundle, log=log)
    put(old, first, 1, time=now, price=7.5, hidden=True)
    put(old, "new", 1, time=now, **new_item(bundle))
    facts = {**bundle.manifest.facts, "catalogue_until": (now + timedelta(hours=1)).isoformat()}
    newer = replace(bundle, manifest=replace(bundle.manifest, facts=facts))
    engine = build_engine(newer, log=log)
    row = engine.parts.item_table.row[first]
    assert engine.parts.item_table.price[row] == bundle.catalogue.items["price"][0].as_py()
    assert "new" in engine.parts.item_table.row
    with pytest.raises(UnknownName, match="hidden"):
        ask(engine, now, candidates=(first,))
    put(engine, first, 2, time=now + timedelta(hours=2), price=6.5)
    assert engine.parts.item_table.price[row] == 6.5


def test_items_beyond_the_room_wait_for_the_next_load(bundle, now):
    log = MemoryLog()
    tight = replace(bundle, config=replace(bundle.config, new_items=2))
    engine = build_engine(tight, log=log)
    for number in range(4):
        put(engine, f"new {number}", 1, time=now, **new_item(bundle))
    assert engine.live.waiting == {"new 2", "new 3"}
    again = build_engine(tight, log=log)
    assert not again.live.waiting
    assert len(ask(again, now, candidates=tuple(f"new {number}" for number in range(4))).slate) == 4


class Interrupted:
    """A log into which somebody else writes between a slate's making and its recording."""

    def __init__(self, log, write):
        self._log, self._write = log, write

    def __getattr__(self, name):
        return getattr(self._log, name)

    def append(self, slate, *, catalogue=None):
        write, self._write = self._write, None
        if write is not None:
            write(slate)
        self._log.append(slate, catalogue=catalogue)


def test_a_change_during_a_request_is_seen_before_it_is_recorded(bundle, now):
    log = MemoryLog()
    other, hidden = build_engine(bundle, log=log), []

    def hide(slate):
        hidden.append(slate.item_id[np.argmax(slate.position == 1)])
        put(other, hidden[0], 1, time=now, hidden=True)

    engine = build_engine(bundle, log=Interrupted(log, hide))
    answer = ask(engine, now)
    assert hidden[0] not in answer.slate.item_id
    assert len(log.slates()) == 1


EXAMPLES = count(1)
worker, item, merchant, version = (st.integers(0, most) for most in (1, 5, 1, 9))
hindrance = st.sampled_from(["hidden", "blocked", "removed"])
operation = st.one_of(
    st.tuples(st.just("put"), worker, item, version, hindrance, st.booleans()),
    st.tuples(st.just("put"), worker, item, version, st.just("in_stock"), st.booleans()),
    st.tuples(st.just("merchant"), worker, merchant, version, st.just("blocked"), st.booleans()),
    st.tuples(st.just("ask"), worker, item),
    st.tuples(st.just("rank"), worker, item),
)


@pytest.fixture(scope="module")
def workers(bundle):
    """Two engines on one log that read nothing by themselves."""
    log, patient = MemoryLog(), replace(bundle, config=replace(bundle.config, follow_seconds=3600.0))
    return [build_engine(patient, log=log) for _ in range(2)]


@given(operations=st.lists(operation, min_size=5, max_size=30))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_interleaving_shows_what_may_not_be_shown(workers, bundle, now, operations):
    """What may be shown is computed here, version by version; the versions of an example are above those before it."""
    items, begin = bundle.catalogue.items.slice(0, 4).to_pylist(), 100 * next(EXAMPLES)
    names = [*(item["item_id"] for item in items), "new a", "new b"]
    sellers = [items[0]["merchant_id"], items[1]["merchant_id"]]
    for name in names[4:]:
        put(workers[0], name, begin, time=now, **new_item(bundle, merchant_id=sellers[0]))
    seller_of = {item["item_id"]: item["merchant_id"] for item in items} | dict.fromkeys(names[4:], sellers[0])
    free = {"hidden": False, "blocked": False, "removed": False, "in_stock": True}
    for name in names:
        put(workers[1], name, begin, time=now, **free)
    for name in sellers:
        put(workers[1], name, begin, time=now, subject=Subject.MERCHANT, blocked=False)
    model = {(name, field): (begin, value) for name in names for field, value in free.items()}
    model |= {(name, "blocked"): (begin, False) for name in sellers}

    def may_be_shown(name):
        held = [model[name, "hidden"], model[name, "blocked"], model[name, "removed"]]
        held.append(model.get((seller_of[name], "blocked"), (0, False)))
        return model[name, "in_stock"][1] and not any(value for _, value in held)

    for number, (kind, worker, which, *change) in enumerate(operations):
        if kind in ("ask", "rank"):
            candidates = {"candidates": tuple(names)} if kind == "rank" else {"k": 200}
            with suppress(UnknownName):  # a worker may learn late of what may be shown again
                ranking = ask(workers[worker], now, f"{begin} {number}", user_id=f"u{which}", **candidates)
                assert set(shown(ranking)) & set(names) <= set(filter(may_be_shown, names))
            continue
        version, field, value = change
        subject = Subject.MERCHANT if kind == "merchant" else Subject.ITEM
        name = sellers[which] if kind == "merchant" else names[which]
        put(workers[worker], name, begin + version, time=now, subject=subject, **{field: value})
        if begin + version > model[name, field][0]:
            model[name, field] = (begin + version, value)
    available = set(filter(may_be_shown, names))
    for place, engine in enumerate(workers):
        engine.live.follow()
        if available:
            assert set(ask(engine, now, f"{begin} last {place}", candidates=tuple(names)).slate.item_id) == available


def test_a_new_item_is_drawn_by_its_quota_at_once_with_the_odds_on_record(bundle, now):
    """Whatever its value; where it alone is new, half of the first places are its own at least."""
    policy = replace(bundle.policy, slate=SlateSection((NewItems(30, 0.5, 1),)))
    engine = build_engine(replace(bundle, policy=policy), log=MemoryLog())
    items = bundle.catalogue.items.to_pylist()
    month_ago = now - timedelta(days=30)
    began = {item["item_id"] for item in items if item["available_from"] and item["available_from"] > month_ago}
    before = int((now - timedelta(days=31)).timestamp() * 1e6)
    put(engine, "new", 1, time=now, **new_item(bundle, price=0.01))
    put(engine, "older", 1, time=now, **new_item(bundle, price=0.01, available_from=before))
    relaunched = next(item["item_id"] for item in items if item["item_id"] not in began and item["in_stock"])
    put(engine, relaunched, 1, time=now, available_from=int(now.timestamp() * 1e6))
    always = [item["item_id"] for item in items if item["available_from"] is None and item["item_id"] != relaunched]
    candidates = ("new", "older", *always[:20])
    drawn, expected = 0, 0.0
    alone = build_engine(replace(bundle, policy=policy), log=MemoryLog()).parts
    for number in range(20):
        for named in ({}, {"candidates": candidates}):
            slate = ask(engine, now, f"{number} {len(named)}", k=1, **named).slate
            new = np.isin(slate.item_id, [*began, "new", relaunched])
            assert "new" in slate.item_id
            place = int(np.argmax(slate.position == 1))
            odds = new * 0.5 / new.sum()
            odds[np.argmax(slate.value)] += 0.5
            assert slate.propensity[place] == pytest.approx(odds[place], rel=1e-12)
            if number == 0:
                assert replay(alone, slate).differs == ()
            drawn, expected = drawn + (slate.item_id[place] == "new"), expected + odds[slate.item_id == "new"][0]
    assert 0.5 * 20 <= expected < 40
    assert drawn == pytest.approx(expected, abs=4 * np.sqrt(0.25 * 40))


def test_slates_of_a_moved_catalogue_replay_to_the_same_bits_from_the_bundle_alone(bundle, now):
    ruled = replace(bundle, policy=replace(bundle.policy, slate=RULED))
    engine = build_engine(ruled, log=MemoryLog())
    change_much(engine, bundle, now)
    for number, user in enumerate(bundle.catalogue.users["user_id"].to_pylist()[:10]):
        ask(engine, now, number, user_id=user, k=20)
    candidates = ("new", "newer", *bundle.catalogue.items["item_id"].to_pylist()[1:9])
    ask(engine, now, "rank", candidates=candidates)
    parts = build_engine(ruled, log=MemoryLog()).parts
    for number in (*range(10), "rank"):
        slate = engine.log.slate(f"r{number}")
        assert replay(parts, slate).differs == ()


def test_what_moved_since_the_bundle_is_no_skew_of_the_slates_after_it(engine, bundle, now):
    before, later = ask(engine, now, 1).slate, now + timedelta(hours=1)
    first, merchant = before.item_id[0], before.merchant_id[0]
    word = bundle.catalogue.items["name"][5].as_py().split()[0]
    put(engine, first, 1, time=later, price=3.5)
    put(engine, merchant, 1, time=later, subject=Subject.MERCHANT, commission_rate=0.77)
    put(engine, "more of it", 1, time=later, **new_item(bundle, name=f"{word} {word}"))
    soon = (later + timedelta(minutes=minutes) for minutes in (1, 2))
    after = [ask(engine, next(soon), 2), ask(engine, next(soon), 3, surface="search", query=word)]
    slates, feedback = engine.log.slates(), engine.log.feedback()
    records = engine.log.catalogue_after(0)[0]

    def skewed(group, records):
        parts = store_skew(bundle, group, slates, feedback, records)
        return {name for name, part in parts.items() if part.share and name not in LAGGING}

    moved = [ranking.slate for ranking in after]
    assert {"commission_rate", "name_tokens"} <= skewed(moved, ())
    assert skewed(moved, records) == set()
    assert skewed([before], records) == set()  # its first item changed afterwards: what it was is not known any more
