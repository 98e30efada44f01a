"""Event logs without lists and without sessions: from a mapping file to slates that follow the shopper's interest."""

import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pytest

from jobs.config import RunConfig
from jobs.recommend import recommend
from jobs.run import run_all
from marketplace.memory_log import MemoryLog
from marketplace.schema import FEEDBACK, conform
from marketplace.simulator import SimulatorConfig, simulate
from retrieval.config import RetrievalConfig
from serving.bundle import build_engine, load_bundle
from serving.parity import TOLERANCE
from serving.request import Request
from value_model.rankers.config import TrainingConfig

pytestmark = pytest.mark.slow  # three runs

ITEMS = """name = "shop"
currency = "SAR"

[items]
file = "products.csv"

[items.columns]
item_id = "sku"
merchant_id = "seller"
price = "price"
name = "title"
category = "category"
"""
EVENTS = """
[feedback]
file = "events.csv"

[feedback.columns]
event = "kind"
time = "at"
user_id = "customer"
item_id = "sku"
amount = "total"

[feedback.events]
view = "click"
add_to_cart = "cart"
purchase = "order"
"""
WORDS = {"click": "view", "cart": "add_to_cart", "order": "purchase"}


def write_csv(folder: Path, file: str, **columns) -> None:
    plain = {
        name: values.cast(pa.string()) if pa.types.is_dictionary(values.type) else values
        for name, values in columns.items()
    }
    pacsv.write_csv(pa.table(plain), folder / file)


def export(folder: Path, *, events: tuple[str, ...]) -> Path:
    """The mapping file of a simulated market's catalogue, and of some of its events."""
    config = replace(SimulatorConfig.small(), requests=2000, users=150, items=200, merchants=20)
    market = simulate(config, np.random.default_rng(5)).dataset
    items, feedback = market.items, market.feedback
    columns = {"sku": "item_id", "seller": "merchant_id", "price": "price", "title": "name", "category": "category"}
    write_csv(folder, "products.csv", **{ours: items[name] for ours, name in columns.items()})
    if events:
        feedback = feedback.filter(pc.is_in(feedback["event"].cast(pa.string()), pa.array(events)))
        kind = pa.array([WORDS[event] for event in feedback["event"].to_pylist()])
        at = pc.strftime(feedback["time"], format="%Y-%m-%dT%H:%M:%SZ")
        rest = {"customer": feedback["user_id"], "sku": feedback["item_id"], "total": feedback["amount"]}
        write_csv(folder, "events.csv", kind=kind, at=at, **rest)
    (folder / "mapping.toml").write_text(ITEMS + (EVENTS if events else ""))
    return folder / "mapping.toml"


def ran(folder: Path, *events: str) -> Path:
    data = export(folder, events=events)
    run_all(
        RunConfig(
            data=str(data), retrieval=RetrievalConfig(index="exact", epochs=2), training=TrainingConfig(epochs=2)
        ),
        folder / "run",
    )
    return folder / "run"


def engine_of(run: Path):
    bundle = load_bundle(run / "bundle")
    return build_engine(bundle, log=MemoryLog()), bundle


def slate(engine, user: str, name: str, *, after: int) -> list[str]:
    """The items served to a user, some seconds after the end of the data."""
    time = engine.parts.known_until + timedelta(seconds=after)
    answer = engine.rank(Request(request_id=name, time=time, surface="home", user_id=user, k=10)).slate
    shown = np.flatnonzero(answer.position > 0)
    return answer.item_id[shown[np.argsort(answer.position[shown])]].tolist()


def view(engine, user: str, items: list[str], *, after: int) -> None:
    """The shopper opens the items' pages, one a second."""
    start = engine.parts.known_until + timedelta(seconds=after)
    rows = [
        {
            "feedback_id": f"{user} {after} {place}", "event": "click", "time": start + timedelta(seconds=place),
            "user_id": user, "item_id": item, "currency": "SAR",
        }
        for place, item in enumerate(items)
    ]  # fmt: skip
    engine.record(conform(pa.Table.from_pylist(rows), FEEDBACK, where="views"))


def in_category(engine, bundle, users: list[str], category: str) -> tuple[float, float]:
    """Mean share of the first ten in `category`, before and after each shopper viewed three of its items."""
    items = bundle.catalogue.items
    members = items.filter(pc.equal(items["category"].cast(pa.string()), category))["item_id"].to_pylist()
    before, after = [], []
    for user in users:
        before.append(np.isin(slate(engine, user, f"before {category} {user}", after=1), members).mean())
        view(engine, user, members[:3], after=2)
        after.append(np.isin(slate(engine, user, f"after {category} {user}", after=9), members).mean())
    return float(np.mean(before)), float(np.mean(after))


@pytest.fixture(scope="module")
def purchases(tmp_path_factory) -> Path:
    return ran(tmp_path_factory.mktemp("log"), "click", "cart", "order")


@pytest.fixture(scope="module")
def views(tmp_path_factory) -> Path:
    return ran(tmp_path_factory.mktemp("views"), "click")


def test_a_log_of_views_carts_and_orders_teaches_orders_and_not_clicks(purchases):
    assert set(json.loads((purchases / "ranker" / "network" / "network.json").read_text())["heads"]) == {
        "ctcvr",
        "order_value",
    }
    _, bundle = engine_of(purchases)
    assert bundle.policy.name == "purchases"
    assert bundle.manifest.facts["twins_differ"] <= TOLERANCE


def test_the_notes_say_how_visits_were_read(purchases):
    notes = json.loads((purchases / "data" / "dataset.json").read_text())["notes"]
    assert any("events name no session" in note and "within 30 minutes" in note for note in notes)


def test_the_next_answer_follows_what_the_shopper_views_now(views):
    engine, bundle = engine_of(views)
    users = bundle.catalogue.users["user_id"].to_pylist()[:12]
    categories = pc.value_counts(bundle.catalogue.items["category"].cast(pa.string())).to_pylist()
    large = [row["values"] for row in categories if row["counts"] >= 10][:2]
    for category in large:
        before, after = in_category(engine, bundle, users, category)
        assert after > before + 0.1


@pytest.mark.parametrize("log", ["purchases", "views"])
def test_shoppers_do_not_all_get_the_same_first_item(log, request):
    engine, bundle = engine_of(request.getfixturevalue(log))
    users = bundle.catalogue.users["user_id"].to_pylist()
    first = Counter(slate(engine, user, f"first {user}", after=1)[0] for user in users)
    assert first.most_common(1)[0][1] / len(users) < 0.5


def test_views_alone_are_ranked_by_retrieval_under_the_policy_for_a_cold_start(views):
    _, bundle = engine_of(views)
    assert bundle.policy.name == "cold_start"
    assert not (views / "bundle" / "ranker").exists()


def test_a_catalogue_alone_serves_and_says_what_to_log_next(tmp_path, capsys):
    run = ran(tmp_path)
    assert "/v1/feedback" in capsys.readouterr().out
    engine, bundle = engine_of(run)
    assert bundle.policy.name == "cold_start"
    answers = [slate(engine, f"u{place}", f"r{place}", after=1) for place in range(200)]
    assert all(len(set(answer)) == 10 for answer in answers)
    often = Counter(item for answer in answers for item in answer)
    assert len(often) == len(bundle.catalogue.items)
    assert max(often.values()) < 5 * 200 * 10 / len(bundle.catalogue.items)
    recommend(run, user=None, surface="home", k=5)
    assert "= value" in capsys.readouterr().out
