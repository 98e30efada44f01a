"""API keys: who may do what, and that a mistake never opens the service."""

import hashlib
import hmac

import pytest
from fake_service import FakeService
from test_app import HOME, NOW, event, post

from marketplace.finding import DataError
from serving import wsgi
from serving.app import create_app
from serving.feedback_checks import Sender
from serving.key_file import KeyFile
from serving.keys import KeyRing, KeyScope, key_mark
from serving.rate_limits import RateLimits

KEYS = {"shop": ["rank"], "pixel": ["feedback"], "till": ["events"], "lab": ["rank", "test"], "ops": ["admin"]}


def toml(keys=KEYS):
    rows = (
        f'[{name}]\nsha256 = "{hashlib.sha256(f"key of {name}".encode()).hexdigest()}"\nscopes = {scopes}\n'
        for name, scopes in keys.items()
    )
    return "".join(rows).replace("'", '"')


@pytest.fixture
def service():
    return FakeService()


@pytest.fixture
def client(service):
    keys = KeyRing.from_toml(toml(), file="keys.toml")
    return create_app(service, clock=lambda: NOW, keys=keys).test_client()


def bearer(name):
    return {"Authorization": f"Bearer key of {name}"} if name else {}


def test_a_key_of_low_priority_does_not_wait_in_a_queue(service):
    text = toml({"job": ["rank"], "shop": ["rank"]}).replace('["rank"]', '["rank"]\npriority = "low"', 1)
    can_wait = create_app(service, keys=KeyRing.from_toml(text, file="keys.toml")).extensions["can_wait"]
    headers = [{"authorization": f"Bearer key of {name}"} for name in ("job", "shop", "stranger")]
    assert [can_wait(one) for one in (*headers, {})] == [False, True, True, True]
    with pytest.raises(DataError, match='Write "normal" or "low"'):
        KeyRing.from_toml(text.replace('"low"', '"lowest"'), file="keys.toml")


@pytest.mark.parametrize(
    ("path", "content", "allowed"),
    [
        ("/v1/recommend", HOME, {"shop", "lab", "ops"}),
        ("/v1/rank", HOME | {"candidates": ["item 1"]}, {"shop", "lab", "ops"}),
        ("/v1/recommend", HOME | {"seed": 1}, {"lab", "ops"}),
        ("/v1/feedback", {"events": [event()]}, {"pixel", "till", "ops"}),
    ],
)
def test_each_route_needs_its_scope(client, path, content, allowed):
    statuses = {name: post(client, path, content, headers=bearer(name)) for name in (*KEYS, None, "stranger")}
    assert {name for name, answer in statuses.items() if answer.status_code == 200} == allowed
    for name in {*KEYS} - allowed:
        assert statuses[name].status_code == 403
        assert f"the key {name!r} lacks the scope" in statuses[name].get_json()["detail"]
    for name in (None, "stranger"):
        assert statuses[name].status_code == 401
        assert "Authorization: Bearer" in statuses[name].get_json()["detail"]


def test_a_key_is_asked_for_before_the_body_is_read(client):
    assert post(client, "/v1/recommend", b"{").status_code == 401


def test_a_route_of_which_nothing_is_said_needs_the_scope_admin(service):
    app = create_app(service, keys=KeyRing.from_toml(toml(), file="keys.toml"))
    app.put("/v1/new")(lambda: "done")
    client = app.test_client()
    assert {name: client.put("/v1/new", headers=bearer(name)).status_code for name in KEYS} == {
        **dict.fromkeys(KEYS, 403),
        "ops": 200,
    }
    assert client.put("/v1/new").status_code == 401
    assert client.get("/nowhere").status_code == 404


def test_probes_need_no_key(client):
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
        assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("name", "sender"), [("pixel", Sender.SHOPPERS), ("till", Sender.TRUSTED), ("ops", Sender.TRUSTED)]
)
def test_the_key_says_what_its_events_may_be(client, service, name, sender):
    post(client, "/v1/feedback", {"events": [event()]}, headers=bearer(name))
    assert service.sender is sender


def test_without_keys_everybody_may_all_but_send_answers_to_slates_that_were_never_shown(service):
    client = create_app(service, clock=lambda: NOW).test_client()
    answer = post(client, "/v1/recommend", HOME | {"seed": 1})
    assert answer.get_json()["items"][0]["source"] == "caller"
    post(client, "/v1/feedback", {"events": [event(order_id="o1", quantity=3)]})
    assert service.sender is Sender.ANYBODY
    assert (service.details.order_id, service.details.quantity) == (["o1"], [3])


def test_the_source_of_an_item_is_told_to_testers_alone(client):
    for name, told in (("shop", False), ("lab", True), ("ops", True)):
        (item, *_) = post(client, "/v1/recommend", HOME, headers=bearer(name)).get_json()["items"]
        assert ("source" in item) == told


def test_every_key_is_compared_in_constant_time(monkeypatch):
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr("serving.keys.hmac.compare_digest", lambda a, b: compared.append(b) or real(a, b))
    ring = KeyRing.from_toml(toml(), file="keys.toml")
    assert ring.caller("key of shop").name == "shop"
    assert len(compared) == len(KEYS)
    assert ring.caller("") is None
    assert ring.caller("key of pixel").scopes == {KeyScope.FEEDBACK}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file holds no key"),
        ('[a]\nsha256 = "secret"\nscopes = ["rank"]\n', "keys.toml:2: error: a.sha256"),
        (toml({"a": ["rnk"]}), r"keys.toml:3: error: a.scopes.1 is 'rnk'. Fix: Write one of rank"),
        (toml({"a": []}), "a.scopes is"),
        (toml({"a": ["rank"]}) + "per_second = 0.0\n", "a.per_second is 0"),
        (toml({"a": ["rank"]}) + "burst = 5\n", "has a burst and no per_second"),
        ('[a]\nkey = "secret"\n', "unknown field 'key'"),
    ],
)
def test_a_mistake_in_the_keys_is_named_with_its_line_and_stops_the_service(text, problem, tmp_path):
    with pytest.raises(DataError, match=problem):
        KeyRing.from_toml(text, file="keys.toml")
    (tmp_path / "keys.toml").write_text(text)
    with pytest.raises(wsgi.NotConfigured, match="the API keys cannot be read"):
        wsgi._keys({"VALUE_MODEL_KEYS_FILE": str(tmp_path / "keys.toml")})


def test_a_key_is_taken_at_its_rate_and_told_when_to_try_again(service, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("serving.app.RateLimits", lambda: RateLimits(clock=lambda: now[0]))
    slow = toml().replace('scopes = ["rank"]', 'scopes = ["rank"]\nper_second = 0.5\nburst = 3')
    client = create_app(service, clock=lambda: NOW, keys=KeyRing.from_toml(slow, file="keys.toml")).test_client()

    def statuses(count, name="shop"):
        return [post(client, "/v1/recommend", HOME, headers=bearer(name)).status_code for _ in range(count)]

    assert statuses(4) == [200, 200, 200, 429]
    refused = post(client, "/v1/recommend", HOME, headers=bearer("shop"))
    assert (refused.mimetype, refused.headers["Retry-After"]) == ("application/problem+json", "2")
    assert "may ask 0.5 times a second, and 3 at once; try again in 2.00 s" in refused.get_json()["detail"]
    assert statuses(9, "lab") == [200] * 9
    now[0] = 2.0
    assert statuses(2) == [200, 429]
    now[0] = 1000.0
    assert statuses(4) == [200, 200, 200, 429]  # no more than the burst, however long it was away
    assert client.get("/healthz", headers=bearer("shop")).status_code == 200


def test_keys_come_and_go_without_a_restart(tmp_path, caplog):
    path, now = tmp_path / "keys.toml", [0.0]
    path.write_text(toml({"old": ["rank"]}))
    keys = KeyFile(path, clock=lambda: now[0])
    path.write_text(toml({"old": ["rank"], "new": ["rank"]}))
    assert keys.caller("key of new") is None  # it was looked at just now
    now[0] = 1.0
    assert keys.caller("key of new").name == "new"
    path.write_text("nonsense")
    now[0] = 2.0
    assert keys.caller("key of old").name == "old"
    assert "the API keys stay as they were" in caplog.text
    path.unlink()
    now[0] = 3.0
    assert keys.caller("key of old").name == "old"
    path.write_text(toml({"new": ["rank"]}))
    now[0] = 4.0
    assert keys.caller("key of old") is None
    assert keys.holder(key_mark("key of new")).name == "new"


def test_no_other_sites_page_may_call(client):
    headers = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    for answer in (
        client.options("/v1/recommend", headers=headers),
        client.options("/v1/recommend", headers=headers | bearer("shop")),
        post(client, "/v1/recommend", HOME, headers=headers | bearer("shop")),
    ):
        assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]


def test_keys_come_from_a_file_or_the_environment(tmp_path):
    (tmp_path / "keys.toml").write_text(toml())
    from_file = wsgi._keys({"VALUE_MODEL_KEYS_FILE": str(tmp_path / "keys.toml")})
    from_text = wsgi._keys({"VALUE_MODEL_KEYS": toml()})
    assert from_file.caller("key of ops") == from_text.caller("key of ops")
    assert wsgi._keys({}) is None
    with pytest.raises(wsgi.NotConfigured, match="absent"):
        wsgi._keys({"VALUE_MODEL_KEYS_FILE": str(tmp_path / "absent.toml")})
    with pytest.raises(wsgi.NotConfigured, match="both set"):
        wsgi._keys({"VALUE_MODEL_KEYS": "a", "VALUE_MODEL_KEYS_FILE": "b"})
