"""The routes of policies and bundles: checked, versioned, staged, rolled back, refused; by keys of the scope admin."""

import json
import tomllib

import pytest
from fake_service import FakeService
from test_api_keys import bearer, toml
from test_app import NOW, problems
from test_policies_in_force import another_bundle

from serving import policy_payloads
from serving.app import create_app
from serving.keys import KeyRing
from serving.policies_in_force import PoliciesInForce
from value_model.formula import parse_policy, to_toml

WHY = {"owner": "growth", "reason": "Clicks pay less."}


@pytest.fixture
def client(policies):
    keys = KeyRing.from_toml(toml(), file="keys.toml")
    return create_app(FakeService(), clock=lambda: NOW, keys=keys, policies=lambda: policies).test_client()


def send(client, path, content, *, method="PUT", name="ops"):
    body = {"data": json.dumps(content), "content_type": "application/json"}
    return client.open(path, method=method, headers=bearer(name), **body)


def test_a_policy_is_put_staged_listed_and_rolled_back(client, bundle):
    started = client.get("/v1/policy", headers=bearer("ops")).get_json()
    assert (started["policy"]["version"], started["record"]) == (bundle.policy.version, None)
    text = to_toml(bundle.policy.with_weights({"w_click": 0.2}))
    answer = policy_payloads.PolicyAnswer.model_validate_json(send(client, "/v1/policy", WHY | {"policy": text}).data)
    assert answer.policy.toml == text
    assert (answer.record.changes, answer.record.key, answer.record.base, answer.bundle.id) == (
        ["w_click 0.14 -> 0.2"],
        "ops",
        bundle.policy.version,
        "2",
    )
    stale = send(client, "/v1/policy", WHY | {"policy": to_toml(bundle.policy), "base": "1"})
    assert (stale.status_code, stale.mimetype) == (409, "application/problem+json")
    assert "is in force since by growth" in stale.get_json()["detail"]
    query = {"owner": "growth", "reason": "A tenth.", "base": "2", "share": "0.1", "approved_by": ["a", "b"]}
    body = {"data": text.replace("value = 0.2", "value = 0.3"), "content_type": "application/toml"}
    staged = client.put("/v1/policy", query_string=query, headers=bearer("ops"), **body).get_json()
    assert (staged["trial"]["share"], staged["record"]["approved_by"]) == (0.1, ["a", "b"])
    ended = send(client, "/v1/policy/rollback", WHY, method="POST").get_json()
    assert (ended["trial"], ended["record"]["kind"]) == (None, "unstaged")
    history = client.get("/v1/policy/versions?most=3&before=4", headers=bearer("ops")).get_json()["records"]
    assert [(row["number"], row["kind"]) for row in history] == [(3, "staged"), (2, "published"), (1, "found")]
    second = client.get("/v1/policy/versions/2", headers=bearer("ops")).get_json()
    assert second["policy"]["toml"] == text
    assert "+value = 0.2" in second["diff"]


def test_the_tables_of_a_policy_may_be_sent_as_json(client, bundle):
    tables = tomllib.loads(to_toml(bundle.policy.with_weights({"w_click": 0.2})))
    assert send(client, "/v1/policy", WHY | {"policy": tables}).get_json()["record"]["changes"] == [
        "w_click 0.14 -> 0.2"
    ]
    assert parse_policy(tables).version == parse_policy(to_toml(parse_policy(tables))).version


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("name = 3", "policy:1: error: name is 3"),
        ("[", "the file is not TOML"),
        ({"name": None, "likes": 1}, "unknown field 'likes'"),
        ({"name": 2**70}, "no whole number of 64 bits"),
    ],
)
def test_a_policy_that_cannot_be_read_is_refused_with_its_lines(client, policy, reason):
    answer = send(client, "/v1/policy", WHY | {"policy": policy})
    assert answer.status_code == 400
    assert reason in str(answer.get_json()["problems"])


def test_what_is_refused_says_why_and_changes_nothing(client, policies, bundle):
    text = to_toml(bundle.policy.with_weights({"w_click": 0.2}))
    others = send(client, "/v1/policy", {"owner": "finance", "reason": "More.", "policy": text})
    assert "they must agree first: growth" in others.get_json()["detail"]
    assert "share" in problems(send(client, "/v1/policy", WHY | {"policy": text, "share": 0}))
    assert send(client, "/v1/policy/rollback", WHY | {"number": 9}, method="POST").status_code == 404
    assert client.get("/v1/policy/versions/9", headers=bearer("ops")).status_code == 404
    assert send(client, "/v1/bundles/9/activate", WHY, method="POST").status_code == 404
    (policies.folder / "bundles" / "1" / "surfaces.toml").rename(policies.folder / "gone")
    another = send(client, "/v1/policy", WHY | {"policy": text})
    assert (another.status_code, "is incomplete: ['surfaces.toml']" in another.text) == (409, True)
    assert policies.history() == ()


def test_a_folder_that_fails_is_a_503_that_says_so_and_nothing_has_changed(client, policies, bundle):
    text = to_toml(bundle.policy.with_weights({"w_click": 0.2}))
    folder = policies.folder / "policies"
    folder.write_text("no folder")  # as unwritable as a read-only disk
    for path, method, content in (("/v1/policy", "PUT", WHY | {"policy": text}), ("/v1/policy/rollback", "POST", WHY)):
        answer = send(client, path, content, method=method)
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
        assert "nothing was changed" in answer.get_json()["detail"]
    assert policies.served().policy == bundle.policy
    folder.unlink()
    folder.mkdir()
    (folder / "history.jsonl").write_text("{}\n")
    for path, method in (("/v1/policy", "GET"), ("/v1/policy", "PUT"), ("/v1/policy/versions/1", "GET")):
        damaged = send(client, path, WHY | {"policy": text}, method=method)
        assert (damaged.status_code, "Mend or remove that line" in damaged.get_json()["detail"]) == (503, True)


def test_requests_that_a_policy_cannot_be_tried_on_refuse_it(bundle, policies):
    def unreadable(folder, policy):
        raise FileNotFoundError("evaluation/labels.parquet")

    untried = PoliciesInForce(policies.folder, material_of=unreadable)
    client = create_app(FakeService(), clock=lambda: NOW, policies=lambda: untried).test_client()
    text = to_toml(bundle.policy.with_weights({"w_click": 0.2}))
    answer = client.put("/v1/policy", json=WHY | {"policy": text})
    assert (answer.status_code, "cannot be tried" in answer.get_json()["detail"]) == (409, True)


def test_bundles_are_listed_and_activated(client, policies, bundle):
    another_bundle(policies, bundle.policy.with_weights({"w_gmv": 0.5}))
    rows = client.get("/v1/bundles", headers=bearer("ops")).get_json()["bundles"]
    assert [(row["id"], row["in_force"], row["staged_share"]) for row in rows] == [
        ("2", False, None),
        ("1", True, None),
    ]
    answer = send(client, "/v1/bundles/2/activate", WHY, method="POST").get_json()
    assert (answer["bundle"]["id"], answer["record"]["bundle"], answer["record"]["kind"]) == ("2", "2", "activated")
    assert answer["bundle"]["version"] == rows[0]["version"]


def test_all_of_it_needs_the_scope_admin_and_a_folder(client):
    for method, path in (("GET", "/v1/policy"), ("PUT", "/v1/policy"), ("POST", "/v1/bundles/1/activate")):
        assert send(client, path, WHY, method=method, name="shop").status_code == 403
        assert send(client, path, WHY, method=method, name=None).status_code == 401
    alone = create_app(FakeService()).test_client().get("/v1/policy")
    assert (alone.status_code, "without a folder of bundles" in alone.get_json()["detail"]) == (409, True)
