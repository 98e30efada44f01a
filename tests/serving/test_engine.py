from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from features.served import served
from features.store import MemoryStore
from marketplace.heads import composed
from marketplace.log import DuplicateRequest, Receipt
from marketplace.memory_log import MemoryLog
from marketplace.schema import FEEDBACK, FIRST_RANK, FIRST_VALUE, RANKED_KEY, conform
from marketplace.slate import slates_to_table, table_to_slates
from marketplace.sqlite_log import SqliteLog
from serving.bundle import build_engine
from serving.deadline import ClientGone, Deadline
from serving.distillation import distilled
from serving.feedback_checks import own_id
from serving.replay import NotReplayable, replay
from serving.request import Request, UnknownName
from serving.stages import STAGES
from serving.store_checkpoint import StoreCheckpoint
from value_model.formula import evaluate, parse_policy, shipped_policy, to_toml
from value_model.formula.logged_slates import logged_slates
from value_model.slate_policies.diversity import MMR, Similarity
from value_model.slate_policies.plackett_luce import PlackettLuce
from value_model.slate_policies.rules import CategoryCap, MerchantCap, Newcomers
from value_model.slate_policies.slate_section import SlateSection

ALL_SURFACES = ("home", "search", "store_page", "product_page")
DRAWN = SlateSection(exploration=PlackettLuce(0.05))
RULED = SlateSection(
    rules=(MerchantCap(2), CategoryCap(3), Newcomers(2)),
    diversity=MMR(0.05, Similarity(merchant=0.25, category=0.25, embedding=0.5)),
    exploration=PlackettLuce(0.05),
)


@pytest.fixture
def engine(bundle):
    return build_engine(bundle, log=MemoryLog())


def with_slate(bundle, section, *, shortlist=100):
    """The bundle as if its policy file had this [slate] section."""
    config = replace(bundle.config, shortlist=shortlist)
    return replace(bundle, policy=replace(bundle.policy, slate=section), config=config)


def ask(market, surface="home", **changes):
    users = market.dataset.feedback["user_id"].to_pylist()
    page = {
        "search": {"query": "coffee"},
        "store_page": {"page_merchant_id": market.dataset.items["merchant_id"][0].as_py()},
        "product_page": {"page_item_id": market.dataset.items["item_id"][5].as_py()},
    }
    fields = {
        "request_id": f"r {surface}",
        "time": market.known_until,
        "surface": surface,
        "user_id": users[0],
        "k": 10,
    }
    return Request(**fields | page.get(surface, {}) | {"context": {"country": "SA", "device": "app"}} | changes)


@pytest.mark.parametrize("surface", ALL_SURFACES)
def test_every_surface_is_answered_and_logged(engine, market, surface):
    ranking = engine.rank(ask(market, surface))
    slate = ranking.slate
    assert engine.log.slate(slate.request_id) == slate
    shown = slate.position > 0
    assert sorted(slate.position[shown]) == list(range(1, shown.sum() + 1))
    assert 0 < shown.sum() <= 10
    assert len(set(slate.item_id)) == len(slate) <= 60
    assert np.ptp(slate.value) > 0
    assert set(slate.predictions) == {"ctr", "cvr", "ctcvr", "order_value", "gmv"}
    assert set(ranking.seconds) == set(STAGES) - {"first_phase"}


@pytest.mark.parametrize("surface", ["home", "search"])
def test_after_a_first_phase_the_ranker_scores_the_best_by_it_alone(bundle, market, surface):
    request = ask(market, surface, k=3)
    everything = build_engine(with_slate(bundle, None, shortlist=10_000), log=MemoryLog())
    whole = everything.rank(request).slate
    most, narrow = len(whole) // 2, with_slate(bundle, None, shortlist=6)
    engine = build_engine(replace(narrow, config=replace(narrow.config, ranked=most)), log=MemoryLog())
    first = distilled(engine, market.dataset.slates)
    engine.parts = replace(engine.parts, first_phase=first)
    slate = engine.rank(request).slate
    assert slate.considered == len(whole) > most >= 6
    assert slate.context[RANKED_KEY] == str(most)
    by_name = {name: place for place, name in enumerate(whole.item_id)}
    places = np.array([by_name[name] for name in slate.item_id])
    for head, values in slate.predictions.items():
        assert np.array_equal(values, whole.predictions[head][places])  # the ranker's, whatever the company
    inputs = engine.parts.encoder.encode(served(slates_to_table([whole]), engine.spec))
    columns = {"price": whole.price, **whole.numeric, **composed(first.score(inputs))}
    weights = bundle.policy.weights_for(surface=surface, segment=whole.segment)
    value = evaluate(bundle.policy, {name: columns[name] for name in bundle.policy.inputs}, weights=weights)
    order = np.argsort(-value, kind="stable")
    assert np.array_equal(slate.numeric[FIRST_VALUE], value[places].astype(np.float32))
    assert np.array_equal(order[slate.numeric[FIRST_RANK].astype(int) - 1], places)
    best = order[:most][np.argsort(-whole.value[order[:most]], kind="stable")][:3]
    shown = slate.item_id[np.argsort(slate.position)][-3:]
    assert list(shown) == list(whole.item_id[best])
    assert replay(engine.parts, slate).same
    mine = engine.rank(ask(market, candidates=tuple(whole.item_id[:40]), request_id="mine")).slate
    assert RANKED_KEY not in mine.context


def test_a_preview_is_the_slate_that_would_be_served_on_record_nowhere(engine, market):
    preview = engine.preview(ask(market))
    assert engine.log.slates().num_rows == 0
    slate = engine.rank(ask(market)).slate
    assert preview.ranking.slate == slate
    np.testing.assert_array_equal(sum(preview.terms.values()), slate.value)
    items = market.dataset.items
    names = dict(zip(items["item_id"].to_pylist(), items["name"].to_pylist(), strict=True))
    assert list(preview.names) == [names[item] or item for item in slate.item_id]
    other = engine.policy.with_weights({"w_click": 0.0})
    rival = engine.preview(replace(ask(market), request_id="other"), policy=other)
    assert rival.ranking.slate.versions["policy"] == other.version
    np.testing.assert_array_equal(sum(rival.terms.values()), rival.ranking.slate.value)
    assert not rival.terms["ctr"].any()
    assert len(engine.log.slates()) == 1


def test_what_nobody_waits_for_any_more_is_not_on_record(engine, market):
    with pytest.raises(ClientGone):
        engine.rank(ask(market), deadline=Deadline(gone=lambda: True))
    assert len(engine.log.slates()) == 0


def test_greedy_shows_the_highest_values_in_order(engine, market):
    slate = engine.rank(ask(market)).slate
    best = np.argsort(-slate.value, kind="stable")[:10]
    assert slate.position[best].tolist() == list(range(1, 11))
    assert (slate.propensity[best] == 1).all()
    assert np.isnan(np.delete(slate.propensity, best)).all()


def test_a_store_page_shows_its_merchant_alone(engine, market):
    request = ask(market, "store_page")
    assert set(engine.rank(request).slate.merchant_id) == {request.page_merchant_id}


def test_what_is_out_of_stock_excluded_or_on_the_page_is_not_proposed(engine, market):
    stock = dict(
        zip(market.dataset.items["item_id"].to_pylist(), market.dataset.items["in_stock"].to_pylist(), strict=True)
    )
    first = engine.rank(ask(market, "product_page")).slate
    assert all(stock[item] for item in first.item_id)
    banned = tuple(first.item_id[:5])
    again = engine.rank(ask(market, "product_page", request_id="r2", exclude=banned)).slate
    assert not set(banned) & set(again.item_id)
    assert ask(market, "product_page").page_item_id not in set(first.item_id)


def test_candidates_of_the_caller_are_ranked_as_given(engine, market):
    items = market.dataset.items["item_id"].to_pylist()[20:5:-1]
    slate = engine.rank(ask(market, candidates=(*items, "nobody's"))).slate
    assert slate.item_id.tolist() == items
    assert set(slate.source) == {"caller"}


def test_values_are_the_hand_arithmetic_of_the_default_formula(engine, market):
    slate = engine.rank(ask(market)).slate
    p, w = slate.predictions, slate.weights
    merchants = {row["merchant_id"]: row for row in market.dataset.merchants.to_pylist()}
    for row in (0, 7, 31):
        merchant = merchants[slate.merchant_id[row]]
        joined = merchant["joined"]
        age = np.inf if joined is None else max((slate.time - joined) / timedelta(days=1), 0)
        worth = (
            merchant["commission_rate"] * p["gmv"][row]
            + w["w_quality"] * merchant["quality"]
            + w["w_new"] * 2 ** (-age / 30)
        )
        value = (
            w["w_click"] * p["ctr"][row]
            + w["w_order"] * p["ctcvr"][row]
            + w["w_gmv"] * p["gmv"][row]
            + w["w_merchant"] * worth
        )
        assert slate.merchant_value[row] == pytest.approx(worth, rel=1e-5)
        assert slate.value[row] == pytest.approx(value, rel=1e-5)


def test_contributions_sum_to_the_value_to_the_last_bit(engine, market):
    slate = engine.rank(ask(market)).slate
    terms = engine.explain(slate)
    assert len(terms) == 4
    assert np.array_equal(sum(terms.values()), slate.value)


def test_a_surface_has_its_own_weights(engine, market):
    home, page = engine.rank(ask(market)).slate, engine.rank(ask(market, "store_page")).slate
    assert home.weights["w_merchant"] == 1.0
    assert page.weights["w_merchant"] == 0.0


@pytest.mark.parametrize("surface", ALL_SURFACES)
@pytest.mark.parametrize("section", [None, DRAWN, RULED])
@pytest.mark.parametrize("shortlist", [15, 100])
def test_a_replay_of_a_logged_slate_gives_the_same_bits(bundle, market, surface, section, shortlist):
    parts = with_slate(bundle, section, shortlist=shortlist)
    engine = build_engine(parts, log=MemoryLog())
    for number in range(5):
        engine.rank(ask(market, surface, request_id=f"{number}", k=7))
    stored = table_to_slates(engine.log.slates())
    fresh = build_engine(parts, log=MemoryLog())
    for slate in stored:
        again = replay(fresh.parts, slate)
        assert again.differs == ()
        assert again.slate == slate


def test_a_replay_notices_what_was_changed(engine, market):
    slate = engine.rank(ask(market)).slate
    ctr = slate.predictions["ctr"].copy()
    ctr[3] += 1e-9
    assert replay(engine.parts, replace(slate, predictions={**slate.predictions, "ctr": ctr})).differs == (
        "predictions.ctr",
    )
    with pytest.raises(NotReplayable, match="answered by ranker other"):
        replay(engine.parts, replace(slate, ranker_version="other"))


def test_the_same_request_and_seed_draw_the_same_slate(bundle, market):
    drawing = with_slate(bundle, replace(DRAWN, exploration=PlackettLuce(0.5)))

    def shown(seed):
        slate = build_engine(drawing, log=MemoryLog()).rank(ask(market, seed=seed)).slate
        return slate.item_id[np.argsort(slate.position)[-10:]].tolist()

    assert shown(1) == shown(1)
    assert len({tuple(shown(seed)) for seed in range(5)}) > 1


def test_a_formula_reads_features_of_the_request_and_the_item_as_they_are_served(bundle, market):
    text = to_toml(shipped_policy("exploration_bonus")).replace(
        "w_explore * bonus", "w_explore * (bonus / (1 + user_orders) + 0 * pair_days_since)"
    )
    text += """
[quantities.user_orders]
unit = "1"
low = 0
high = 1000
missing = 0
[quantities.pair_days_since]
unit = "1"
low = 0
high = 1000
missing = 999
"""
    policy = parse_policy(text)
    exploring = build_engine(replace(bundle, policy=policy), log=MemoryLog())
    slate = exploring.rank(ask(market)).slate
    seen, orders = slate.numeric["impressions"].astype(float), float(slate.numeric["user_orders"][0])
    assert np.isnan(slate.numeric["pair_days_since"]).any()
    bonus = np.sqrt(np.log1p(seen.sum()) / (1 + seen)) / (1 + orders)
    expected = 0.14 * slate.predictions["ctr"] + 0.05 * slate.predictions["gmv"] + 0.005 * bonus
    np.testing.assert_allclose(slate.value, expected, rtol=1e-12)
    assert replay(exploring.parts, slate).same
    np.testing.assert_allclose(sum(exploring.explain(slate).values()), slate.value, rtol=1e-9)
    again = logged_slates(slates_to_table([slate]), policy)
    np.testing.assert_allclose(evaluate(policy, again.columns)[0], expected, rtol=1e-12)


def test_a_formula_reads_the_margin_of_the_catalogue(bundle, market):
    items = bundle.catalogue.items
    margins = np.where(np.arange(len(items)) % 3 == 0, np.nan, 0.2)
    column = pa.array(margins, from_pandas=True)
    known = items.set_column(items.column_names.index("margin"), items.schema.field("margin"), column)
    policy = parse_policy(to_toml(bundle.policy).replace("w_gmv * gmv", "w_gmv * gmv * margin"))
    paid = replace(bundle, policy=policy, catalogue=replace(bundle.catalogue, items=known))
    engine = build_engine(paid, log=MemoryLog())
    slate = engine.rank(ask(market)).slate
    row = [engine.parts.item_table.row[name] for name in slate.item_id]
    np.testing.assert_array_equal(slate.numeric["margin"], margins[row].astype(np.float32))
    off = bundle.policy.weights_for(surface="home")
    expected = (
        off["w_click"] * slate.predictions["ctr"]
        + off["w_order"] * slate.predictions["ctcvr"]
        + off["w_gmv"] * slate.predictions["gmv"] * np.nan_to_num(slate.numeric["margin"].astype(float))
        + slate.merchant_value * off["w_merchant"]
    )
    np.testing.assert_allclose(slate.value, expected, rtol=1e-12)


def test_a_request_that_is_repeated_is_answered_as_it_was_and_logged_once(engine, market):
    first = engine.rank(ask(market))
    engine.record(
        feedback(market, first.slate.item_id[0]).set_column(
            4, FEEDBACK.field("user_id"), pa.array(["u1"]).dictionary_encode()
        )
    )
    again = engine.rank(ask(market))
    assert (again.slate, again.further) == (first.slate, first.further)
    assert len(engine.log.slates()) == 1
    few = market.dataset.items["item_id"][:3].to_pylist()
    for change in ({"k": 3}, {"seed": 1}, {"session_id": "s9"}, {"candidates": tuple(few)}):
        with pytest.raises(DuplicateRequest):
            engine.rank(ask(market, **change))


def test_unknown_pages_and_candidates_are_refused(engine, market):
    with pytest.raises(UnknownName, match="page_item_id 'gone'"):
        engine.rank(ask(market, "product_page", page_item_id="gone"))
    with pytest.raises(UnknownName, match="page_merchant_id 'gone'"):
        engine.rank(ask(market, "store_page", page_merchant_id="gone"))
    with pytest.raises(UnknownName, match="none of the candidates"):
        engine.rank(ask(market, candidates=("gone",)))


def test_a_stranger_is_answered_too(engine, market):
    slate = engine.rank(ask(market, user_id="never seen", context={})).slate
    assert (slate.position > 0).sum() == 10


def test_nothing_left_to_show_is_an_empty_slate(engine, market):
    everything = tuple(market.dataset.items["item_id"].to_pylist())
    slate = engine.rank(ask(market, exclude=everything)).slate
    assert len(slate) == 0
    assert engine.log.slate(slate.request_id) == slate


def feedback(market, item, *, feedback_id="f1", event="click"):
    time = market.known_until + timedelta(seconds=30)
    row = {"feedback_id": feedback_id, "event": event, "time": time, "user_id": "newcomer", "item_id": item}
    return conform(pa.Table.from_pylist([row]), FEEDBACK, where="test")


def touched_by(user, engine):
    """Catalogue rows."""
    request = Request("look", engine.parts.known_until + timedelta(days=1), "home", user)
    return engine.store.lookup(request, np.empty(0, np.int32)).touched().tolist()


def test_feedback_reaches_the_store_once(engine, market):
    item = market.dataset.items["item_id"][9].as_py()
    click = feedback(market, item)
    assert engine.record(click) == Receipt(1, 0)
    assert engine.record(click) == Receipt(0, 1)
    assert touched_by("newcomer", engine) == [9]
    later = market.known_until + timedelta(minutes=1)
    slate = engine.rank(ask(market, user_id="newcomer", time=later, candidates=(item,))).slate
    assert slate.numeric["pair_clicks"].tolist() == [1.0]


def test_a_request_id_that_another_shopper_took_blocks_nobody(engine, market):
    mine, theirs = ask(market, user_id="ann"), ask(market, user_id="eve")
    first, second = engine.rank(theirs).slate, engine.rank(mine).slate
    assert (first.request_id, second.request_id) == ("r home", own_id("r home", "ann"))
    assert engine.log.slate(second.request_id) == second
    assert replay(engine.parts, second).same
    assert [engine.rank(request).slate for request in (mine, theirs)] == [second, first]
    top = second.item_id[second.position == 1][0]
    click = feedback(market, top).set_column(1, FEEDBACK.field("request_id"), pa.array(["r home"], pa.string()))
    place = FEEDBACK.get_field_index("user_id")
    click = click.set_column(place, FEEDBACK.field("user_id"), pa.array(["ann"], pa.string()).dictionary_encode())
    assert engine.record(click) == Receipt(1, 0)
    assert engine.log.feedback()["request_id"].to_pylist() == [second.request_id]


def test_what_is_not_believed_reaches_neither_the_store_nor_the_labels(engine, market):
    slate = engine.rank(ask(market, user_id="newcomer")).slate
    hidden = slate.item_id[slate.position == 0][0]
    rows = feedback(market, hidden).set_column(1, FEEDBACK.field("request_id"), pa.array(["r home"], pa.string()))
    assert engine.record(rows) == Receipt(0, 0, {"not_shown": 1})
    assert touched_by("newcomer", engine) == []
    assert len(engine.log.feedback()) == 0


def test_a_service_that_starts_again_knows_what_its_log_holds(bundle, market, tmp_path):
    item = market.dataset.items["item_id"][9].as_py()
    first = build_engine(bundle, log=SqliteLog(tmp_path / "log.sqlite"))
    first.record(feedback(market, item))
    top = first.rank(ask(market)).slate
    again = build_engine(bundle, log=SqliteLog(tmp_path / "log.sqlite"))
    assert touched_by("newcomer", again) == [9]
    shown = top.item_id[top.position == 1][0]
    before = top.numeric["impressions"][top.position == 1][0]
    assert again.rank(ask(market, request_id="r2", candidates=(shown,))).slate.numeric["impressions"][0] == before + 1


def test_a_service_that_starts_from_a_checkpoint_answers_as_one_that_reads_the_log(bundle, market, tmp_path):
    path = tmp_path / "log.sqlite"
    checkpoint = StoreCheckpoint(path, bundle=bundle.version)
    first = build_engine(bundle, log=SqliteLog(path), checkpoint=checkpoint)
    for number, surface in enumerate(ALL_SURFACES):
        top = first.rank(ask(market, surface, session_id="visit")).slate
        first.record(feedback(market, top.item_id[top.position == 1][0], feedback_id=f"f{number}"))
    first.close()
    first.rank(ask(market, request_id="after the checkpoint"))
    kept = build_engine(bundle, log=SqliteLog(path), checkpoint=checkpoint)
    anew = build_engine(bundle, log=SqliteLog(path))
    request = ask(market, request_id="again", time=market.known_until + timedelta(minutes=5), session_id="visit")
    assert touched_by("newcomer", kept) == touched_by("newcomer", anew) != []
    slate = kept.rank(request).slate
    assert replace(anew.rank(replace(request, request_id="anew", seed=slate.seed)).slate, request_id="again") == slate


def test_what_was_shown_counts_as_an_impression(bundle, market):
    engine = build_engine(replace(bundle, config=replace(bundle.config, follow_seconds=0.0)), log=MemoryLog())
    first = engine.rank(ask(market)).slate
    top = first.item_id[first.position == 1][0]
    before = first.numeric["impressions"][first.item_id == top][0]
    second = engine.rank(ask(market, request_id="r2", candidates=(top,))).slate
    assert second.numeric["impressions"][0] == before + 1


def test_the_store_of_the_bundle_is_the_one_that_was_exported(bundle, engine, market):
    request = ask(market, candidates=tuple(market.dataset.items["item_id"].to_pylist()[:20]))
    primed = MemoryStore.of(market.dataset, spec=market.encoder.spec, until=market.known_until)
    twin = build_engine(bundle, log=MemoryLog(), store=primed)
    assert engine.rank(request).slate == twin.rank(request).slate


def test_every_source_of_the_run_has_items_in_the_slates(engine, market, trained):
    users = market.dataset.feedback["user_id"].unique().to_pylist()[:50]
    items = market.dataset.items.slice(0, 50).to_pylist()
    pages = [{"user_id": user} for user in users]
    pages += [{"surface": "product_page", "page_item_id": item["item_id"]} for item in items]
    pages += [{"surface": "search", "query": item["name"]} for item in items[:10]]
    slates = [engine.rank(ask(market, request_id=f"r {number}", **page)).slate for number, page in enumerate(pages)]
    assert {name for slate in slates for name in slate.source} == {source.name for source in trained.sources}
