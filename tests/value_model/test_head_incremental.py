"""The heads of what a treatment adds: from lists that say who was treated to the policy that pays for it."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from features.mapped import mapped_features
from jobs.uplift.job import TargetingRequest, uplift_of_run
from marketplace.attribution import attribute
from marketplace.heads import composed, learned_heads, products
from marketplace.schema import TREATED, TREATED_CHANCE
from marketplace.simulator import SimulatorConfig, simulate
from marketplace.slate_columns import RequestLists, all_lists, item_offsets, map_of_lists, predictions
from marketplace.treatment import arm_labels, treated_chance
from value_model.formula import evaluate, shipped_policy
from value_model.policy_checks import check_policy

LABELS = ("click", "order", "order_value")


def test_the_policy_is_its_arithmetic_and_has_no_findings():
    policy = shipped_policy("incremental")
    columns = {"incremental_gmv": np.array([1.5, -0.2]), "ctcvr_treated": np.array([0.02, 0.0])}
    np.testing.assert_allclose(evaluate(policy, columns), [0.15 * 1.5 - 2 * 0.02, -0.15 * 0.2], rtol=1e-12)
    assert check_policy(policy) == []


def test_they_are_there_where_lists_say_who_was_treated():
    learned = [head.name for head in learned_heads((*LABELS, "treated", "control"))]
    assert learned == ["ctr", "cvr", "order_value", "ctcvr_treated", "ctcvr_control"]
    assert [head.name for head in products(learned)] == ["ctcvr", "gmv", "uplift", "incremental_gmv"]
    assert "uplift" not in [head.name for head in products(head.name for head in learned_heads(LABELS))]


def test_an_effect_is_a_difference_and_its_money_a_product():
    heads = {"ctcvr_treated": np.array([0.3, 0.1]), "ctcvr_control": np.array([0.1, 0.2])}
    answer = composed(heads | {"order_value": np.array([10.0, 50.0])})
    np.testing.assert_allclose(answer["uplift"], [0.2, -0.1])
    np.testing.assert_allclose(answer["incremental_gmv"], [2.0, -5.0])


def lists_with(slates, **entries):
    """SLATE rows whose numeric map holds these lists."""
    numeric = map_of_lists(entries, requests=len(slates), values=pa.float32())
    place = slates.column_names.index("numeric")
    return slates.set_column(place, slates.schema.field("numeric"), numeric.cast(slates.schema.field("numeric").type))


@pytest.fixture(scope="module")
def coupons():
    config = replace(SimulatorConfig.small(), requests=800, click_offset=2.0, order_offset=3.0, coupon_share=0.4)
    return simulate(config, np.random.default_rng(0))


def test_lists_of_a_market_with_coupons_say_which_items_bear_one(coupons):
    slates = coupons.dataset.slates
    arms = arm_labels(slates)
    assert arms["treated"].mean() == pytest.approx(0.4, abs=0.02)
    np.testing.assert_array_equal(arms["treated"] + arms["control"], 1)
    assert (treated_chance(slates) == np.float32(0.4)).all()
    assert TREATED not in [feature.name for feature in mapped_features(coupons.dataset).features]
    labels = attribute(slates, coupons.dataset.feedback).labels
    clicked = labels["click"].to_numpy()
    orders = [labels["order"].to_numpy()[clicked & (arms[arm] == 1)].mean() for arm in ("control", "treated")]
    assert orders[1] > orders[0] + 0.05


def test_a_coupon_adds_to_orders_alone_and_a_market_without_any_is_what_it_was(coupons):
    requests, items = coupons.requests.take(slice(0, 50)), coupons.ranked.item[:50]
    without, with_one = (coupons.respond(requests, items, coupon=np.full(items.shape, b)) for b in (False, True))
    np.testing.assert_array_equal(without.order, coupons.respond(requests, items).order)
    np.testing.assert_array_equal(without.attraction, with_one.attraction)
    assert (with_one.order[items >= 0] >= without.order[items >= 0]).all()
    plain = simulate(replace(coupons.config, coupon_share=0.0), np.random.default_rng(0))
    assert plain.dataset.slates["item_id"].equals(coupons.dataset.slates["item_id"])
    assert arm_labels(plain.dataset.slates) == {}


def test_a_list_may_say_it_once_and_what_is_neither_0_nor_1_is_refused(coupons):
    slates = coupons.dataset.slates.slice(0, 3)
    offsets = item_offsets(slates)
    once = RequestLists(np.array([0, 1, 2, 2]), pa.array([1.0, 0.0]))
    treated = arm_labels(lists_with(slates, treated=once))["treated"]
    lengths = np.diff(offsets)
    np.testing.assert_array_equal(treated, np.repeat([1, 0, np.nan], lengths))
    half = RequestLists(offsets, pa.array(np.full(offsets[-1], 0.5)))
    with pytest.raises(ValueError, match=r"treated: item 0 of the lists is 0\.5; give 1 or 0"):
        arm_labels(lists_with(slates, treated=half))
    short = RequestLists(np.array([0, 2, 4, 6]), pa.array(np.ones(6)))
    with pytest.raises(ValueError, match=rf"treated: list 0 has 2 numbers, but {lengths[0]} items"):
        arm_labels(lists_with(slates, treated=short))


@pytest.mark.xdist_group("run")
def test_a_runs_heads_are_judged_on_what_was_treated(run_folder, tmp_path, capsys):
    """Heads that say twice as much of the treated, on lists where who was treated was drawn and changed nothing."""
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder, ignore=shutil.ignore_patterns("bundle*", "retrieval", "ranker", "log.sqlite*"))
    with pytest.raises(ValueError, match="no head 'incremental_gmv': its lists must say who was treated"):
        uplift_of_run(folder, "order_value", TargetingRequest(), out=tmp_path)
    data = folder / "data" / "slates.parquet"
    slates = pq.read_table(data)
    offsets = item_offsets(slates)
    drawn = pa.array((np.random.default_rng(0).random(offsets[-1]) < 0.5).astype(np.float32))
    chance = RequestLists(np.arange(len(slates) + 1), pa.array(np.full(len(slates), 0.5)))
    pq.write_table(lists_with(slates, **{TREATED: RequestLists(offsets, drawn), TREATED_CHANCE: chance}), data)
    page = folder / "evaluation" / "slates.parquet"
    judged = pq.read_table(page)
    orders = predictions(judged, "ctcvr")
    heads = {"ctcvr_treated": 2 * orders, "ctcvr_control": orders, "uplift": orders}
    logged = all_lists(judged, "predictions") | {
        name: RequestLists(item_offsets(judged), pa.array(values)) for name, values in heads.items()
    }
    entries = map_of_lists(logged, requests=len(judged), values=pa.float64())
    place = judged.column_names.index("predictions")
    field = judged.schema.field("predictions")
    pq.write_table(judged.set_column(place, field, entries.cast(field.type)), page)
    request = TargetingRequest(worth=1.0, costs=1e-5, replicates=10)
    assert uplift_of_run(folder, "order", request, out=tmp_path / "out") == 0
    assert "items shown of the held-out requests" in capsys.readouterr().out
    figures = json.loads((tmp_path / "out" / "uplift.json").read_text())
    assert set(figures["treatments"]["treated"]) == {"the heads", "by outcome"}
    shoppers = len(pc.unique(judged["user_id"]))
    assert 0.5 * shoppers < figures["treatments"]["treated"]["the heads"]["qini"]["n"] <= shoppers
    assert figures["targeting"]["by the heads"]["treated"] > 0.5  # nearly all have orders that the heads would double
