"""Ten thousand requests made from the service's own OpenAPI document, sound and spoilt, on every route: no 500."""

import re
from collections import Counter
from urllib.parse import quote

import jsonschema
import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schema_payloads import lenient, of_schema

from marketplace.memory_log import MemoryLog
from serving.app import create_app
from serving.bundle import build_engine
from value_model.formula import to_toml

pytestmark = pytest.mark.slow
CHUNKS, EXAMPLES = 4, 2_500  # runs of their own seed, requests of each
SPOILT = (0.0, 0.0, 0.02, 0.1, 1.0)  # of a body: how much of it
FIELDS = re.compile(r"{(\w+)}")  # of a path
PAGES = {"home": "", "search": "query", "store_page": "page_merchant_id", "product_page": "page_item_id"}


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_request_makes_a_route_fail_and_every_answer_is_documented(bundle, policies, chunk):
    engine = build_engine(bundle, log=MemoryLog())
    check_routes(engine, policies, examples=EXAMPLES, chunk=chunk)


def one_page(content, words):
    """A request for one page of its surface, or for rows of one shopper, as the schema cannot say it; other content as
    it is."""
    if not isinstance(content, dict):
        return content
    if isinstance(rows := content.get("rows"), list):
        return {"rows": [one_page(row, words) for row in rows[:1]]}
    surface = content.get("surface", "search" if "query" in content else None)
    if not isinstance(surface, str) or surface not in PAGES:
        return content
    field = PAGES[surface]
    left_out = {"features", "cursor", "candidate_features", "prices", "filters", *PAGES.values()} - {field}
    page = {field: words[field][0]} if field else {}
    content = page | {name: value for name, value in content.items() if name not in left_out}
    if isinstance(several := content.get("candidates"), list):
        content["candidates"] = [one for place, one in enumerate(several) if one not in several[:place]]
    return content


def begin(client, words):
    """What the words name is there: two slates on record, and two policies in the history."""
    for name in words["request_id"]:
        body = {"surface": "home", "user_id": "u1", "request_id": name, "time": words["time"][0]}
        assert client.post("/v1/recommend", json=body).status_code == 200
    change = {"policy": words["policy"][0], "owner": words["owner"][0], "reason": "to begin with"}
    assert client.put("/v1/policy", json=change).status_code == 200


def check_routes(engine, policies, *, examples, chunk):
    """Statuses counted by route; raises where one is 500 or not documented, or an answer not as documented."""
    client = create_app(engine, policies=lambda: policies).test_client()
    document, table = client.get("/openapi.json").get_json(), engine.parts.item_table
    now = engine.parts.known_until.isoformat()
    words = {"user_id": ["u1", "u2"], "request_id": ["r1", "r2"], "session_id": ["s1"], "feedback_id": ["f1", "f2"]}
    words |= {"time": [now], "currency": [engine.currency, "USD"], "query": ["coffee", "قهوة"], "cursor": ["r1"]}
    dearer = to_toml(engine.policy.with_weights({"w_click": 0.3}))
    words |= {"policy": [dearer, to_toml(engine.policy)], "owner": ["growth"], "base": ["1", "2"]}
    words |= {"number": ["1", "2", "x"], "bundle_id": ["1", "2"]}
    words |= dict.fromkeys(["item_id", "page_item_id", "exclude"], table.item_id[:4].tolist())
    words |= dict.fromkeys(["merchant_id", "page_merchant_id", "merchants"], table.merchant_id[:2].tolist())
    left_alone = ~np.isin(table.merchant_id, table.merchant_id[:4])  # whatever the other routes remove or block
    words["candidates"] = table.item_id[left_alone][:4].tolist()
    routes = [(path, *operation) for path, methods in document["paths"].items() for operation in methods.items()]
    often = [route for route in routes for _ in range(5 if "requestBody" in route[2] else 1)]
    bodies = {}
    for path, _, operation in routes:
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            bodies[path] = [(of_schema(schema, document, words, hostile=odds), odds) for odds in SPOILT]
    begin(client, words)
    seen = Counter()

    @seed(chunk)
    @settings(
        max_examples=examples, derandomize=False, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(data=st.data())
    def hold(data):
        path, method, operation = data.draw(st.sampled_from(often))
        sent = b""
        if path in bodies:
            strategy, odds = data.draw(st.sampled_from(bodies[path]))
            content = data.draw(strategy)
            sent = lenient(one_page(content, words) if odds < data.draw(st.floats(0, 1)) else content)
        likely = [name for field in FIELDS.findall(path) for name in words[field]] or [""]
        name = data.draw(st.sampled_from(likely) | st.text(min_size=1, max_size=20))
        query = data.draw(st.sampled_from(["", "version=3", "version=x", "a=%ff&a=1", "version=" + "9" * 40]))
        timeout = data.draw(st.sampled_from([*[None] * 9, "1", "5000", "-1", "x", "9" * 50]))
        headers = {} if timeout is None else {"X-Timeout-Ms": timeout}
        answer = client.open(
            FIELDS.sub(lambda _: quote(name.encode("utf-8", "replace")), path),
            method=method,
            data=sent,
            content_type="application/json",
            query_string=query,
            headers=headers,
        )
        seen[path, answer.status_code] += 1
        assert str(answer.status_code) in operation["responses"] or "{" in path, (path, answer.status_code, answer.text)
        if answer.status_code >= 400:
            assert answer.mimetype == "application/problem+json"
            refusal = orjson.loads(answer.data)
            assert refusal["detail"] or refusal["problems"]
        elif path != "/metrics":
            described = operation["responses"]["200"].get("content")
            if described:
                schema = described["application/json"]["schema"] | {"components": document["components"]}
                jsonschema.validate(orjson.loads(answer.data), schema)

    hold()
    assert not [key for key in seen if key[1] >= 500], seen
    assert {path for path, status in seen if status == 200} == {path for path, _, _ in routes}, seen
    return seen
