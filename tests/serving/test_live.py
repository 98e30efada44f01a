import gc
import time
import weakref

import pytest
from fake_service import FakeService

from serving.app import create_app
from serving.manifest import BundleError, point_current
from serving.memory import settle
from serving.service import FRESH, LiveService, NotReady

REQUEST = {"surface": "home", "user_id": "u1"}


@pytest.fixture
def world(tmp_path):
    """A pointer, its possible targets, a clock in hand, and a live service whose folder `bad` cannot be loaded."""
    for name in ("one", "two", "three", "bad", "broken"):
        (tmp_path / name).mkdir()
    now, waiting = [0.0], []

    def build(folder):
        if folder.name == "bad":
            raise BundleError("policy.toml was changed")
        if folder.name == "broken":
            raise MemoryError("no room")
        return FakeService(folder.name)

    live = LiveService(tmp_path / "current", build=build, every=2.0, clock=lambda: now[0], run=waiting.append)

    def point(name, *, after=3.0, load=True):
        point_current(tmp_path / "current", tmp_path / name)
        now[0] += after
        live.follow()
        if load:
            for task in waiting:
                task()
            waiting.clear()

    return live, point


def test_a_new_good_bundle_takes_over(world):
    live, point = world
    point("one")
    assert live.state.bundle == "one"
    point("two")
    assert live.state.bundle == "two"


def test_a_fork_goes_on_with_what_was_loaded_just_now_and_else_loads_it_anew(world, tmp_path):
    live, point = world
    point("one")
    first = live.current()
    live.begin()
    assert live.current() is first
    point_current(tmp_path / "current", tmp_path / "two")
    live.begin()
    assert live.state.bundle == "two"
    second = live.current()
    live._looked -= FRESH + 1
    live.begin()
    assert live.state.bundle == "two"
    assert live.current() is not second
    live.forget()
    live.begin()
    assert live.state.bundle == "two"


def test_the_pointer_is_not_looked_at_on_every_request(world):
    live, point = world
    point("one")
    assert live.state.bundle == "one"
    point("two", after=1.0)
    assert live.state.bundle == "one"


def test_a_bundle_that_new_items_have_outgrown_is_loaded_again_once(world):
    live, point = world
    point("one")
    first = live.current()
    point("one")
    assert live.current() is first
    first.outgrown = True
    point("one", load=False)
    point("one", load=False)
    assert live.current() is first
    point("one")
    second = live.current()
    assert second is not first
    point("one")
    assert live.current() is second


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
        "experiments": {},
        "experiment_faults": {},
        "reload_problem": None,
        "log_problem": None,
    }


def test_without_any_bundle_requests_are_refused_with_the_reason(world):
    live, point = world
    point("bad")
    client = create_app(live).test_client()
    response = client.post("/v1/recommend", json=REQUEST)
    assert response.status_code == 503
    assert "policy.toml was changed" in response.get_json()["detail"]
    assert client.get("/readyz").status_code == 503
    with pytest.raises(NotReady):
        live.current()


def test_requests_are_answered_while_the_next_bundle_is_loaded(world):
    live, point = world
    point("one")
    first = live.current()
    point("two", load=False)
    assert live.current() is first
    point("two")
    assert live.state.bundle == "two"
    assert live.current() is not first


def slow(live, point, name):
    """Point at a bundle whose load goes on after the link has moved on; the returned call ends it."""
    tasks = []
    run, live._run = live._run, tasks.append
    point(name, load=False)
    live._run = run
    (task,) = tasks
    return task


def test_a_rollback_is_not_lost_to_a_slow_load(world):
    live, point = world
    point("one")
    late = slow(live, point, "two")
    point("one")
    late()
    assert (live.state.bundle, live.state.problem) == ("one", None)
    point("two")
    assert live.state.bundle == "two"


def test_of_two_loads_the_one_of_the_links_target_serves_whichever_ends_last(world):
    live, point = world
    point("one")
    late = slow(live, point, "two")
    point("three")
    assert live.state.bundle == "three"
    late()
    assert live.state.bundle == "three"


def test_a_refusal_stays_until_the_link_moves(world):
    live, point = world
    point("one")
    late = slow(live, point, "two")
    point("bad")
    late()
    assert (live.state.bundle, live.state.problem) == ("one", "policy.toml was changed")
    point("one")
    assert live.state.problem is None


def test_a_refusal_of_what_the_link_has_left_is_not_reported(world):
    live, point = world
    point("one")
    late = slow(live, point, "bad")
    point("two")
    late()
    assert (live.state.bundle, live.state.problem) == ("two", None)


def test_a_load_that_fails_unforeseen_keeps_the_last_good_bundle(world):
    live, point = world
    point("one")
    point("broken")
    assert live.state.bundle == "one"
    assert live.state.problem == "MemoryError: no room"


def test_by_default_a_thread_loads(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    point_current(tmp_path / "current", tmp_path / "one")
    live = LiveService(tmp_path / "current", build=lambda folder: FakeService(folder.name), every=0.0)
    live.follow()
    assert live.state.bundle == "one"
    point_current(tmp_path / "current", tmp_path / "two")
    deadline = time.monotonic() + 10
    while live.state.bundle != "two" and time.monotonic() < deadline:
        live.follow()
        time.sleep(0.01)
    assert live.state.bundle == "two"


def test_what_served_before_is_freed_though_it_is_part_of_a_cycle(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()

    def build(folder):
        service = FakeService(folder.name)
        service.itself = service
        return service

    live = LiveService(tmp_path / "current", build=build, every=0.0, run=lambda task: task(), settle=settle)
    point_current(tmp_path / "current", tmp_path / "one")
    live.follow()
    first = weakref.ref(live.current())
    point_current(tmp_path / "current", tmp_path / "two")
    live.follow()
    gc.unfreeze()  # for the other tests
    assert (live.state.bundle, first()) == ("two", None)


def test_what_a_worker_shares_with_others_is_not_searched_for_cycles():
    shared = FakeService("shared")
    shared.itself, kept = shared, weakref.ref(shared)
    gc.collect()
    gc.freeze()  # as the parent process does before it forks
    del shared
    settle()
    searched = kept() is None
    gc.unfreeze()  # for the other tests
    gc.collect()
    assert (searched, kept()) == (False, None)
