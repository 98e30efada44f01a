from datetime import UTC, datetime

import pytest
from fake_service import FakeService

from serving.app import create_app
from serving.manifest import BundleError, point_current
from serving.request import Request
from serving.service import LiveService, NotReady

REQUEST = {"surface": "home", "user_id": "u1"}


@pytest.fixture
def world(tmp_path):
    """A pointer, its possible targets, a clock in hand, and a live service whose folder `bad` cannot be loaded."""
    for name in ("one", "two", "bad"):
        (tmp_path / name).mkdir()
    now = [0.0]

    def build(folder):
        if folder.name == "bad":
            raise BundleError("policy.toml was changed")
        return FakeService(folder.name)

    live = LiveService(tmp_path / "current", build=build, every=2.0, clock=lambda: now[0])

    def point(name, *, after=3.0):
        point_current(tmp_path / "current", tmp_path / name)
        now[0] += after

    return live, point


def test_a_new_good_bundle_takes_over(world):
    live, point = world
    point("one")
    assert live.state.bundle == "one"
    point("two")
    assert live.state.bundle == "two"


def test_the_pointer_is_not_looked_at_on_every_request(world):
    live, point = world
    point("one")
    assert live.state.bundle == "one"
    point("two", after=1.0)
    assert live.state.bundle == "one"


def test_a_bad_bundle_is_reported_and_the_last_good_one_serves(world):
    live, point = world
    point("one")
    client = create_app(live).test_client()
    assert client.get("/readyz").get_json()["bundle"] == "one"
    point("bad")
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.get_json()["bundle"] == "one"
    assert ready.get_json()["reload_problem"] == "policy.toml was changed"
    assert "value_model_reload_failed 1.0" in client.get("/metrics").text
    assert client.post("/v1/recommend", json=REQUEST).status_code == 200
    point("two")
    assert client.get("/readyz").get_json() == {
        "ready": True,
        "bundle": "two",
        "versions": {"ranker": "r1"},
        "reload_problem": None,
    }


def test_without_any_bundle_requests_are_refused_with_the_reason(world):
    live, point = world
    point("bad")
    client = create_app(live).test_client()
    response = client.post("/v1/recommend", json=REQUEST)
    assert response.status_code == 503
    assert "policy.toml was changed" in response.get_json()["error"]
    assert client.get("/readyz").status_code == 503
    with pytest.raises(NotReady):
        live.rank(Request(request_id="r", time=datetime.now(UTC), surface="home", user_id="u"))
