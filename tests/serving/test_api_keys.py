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
from serving.keys import KeyRing, KeyScope

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
        ('[a]\nkey = "secret"\n', "unknown field 'key'"),
    ],
)
def test_a_mistake_in_the_keys_is_named_with_its_line_and_stops_the_service(text, problem, tmp_path):
    with pytest.raises(DataError, match=problem):
        KeyRing.from_toml(text, file="keys.toml")
    (tmp_path / "keys.toml").write_text(text)
    with pytest.raises(wsgi.NotConfigured, match="the API keys cannot be read"):
        wsgi._keys({"VALUE_MODEL_KEYS_FILE": str(tmp_path / "keys.toml")})


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
