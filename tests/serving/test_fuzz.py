import json

import orjson
from fake_service import FakeService
from hypothesis import given, settings
from hypothesis import strategies as st

from serving import payloads
from serving.app import create_app

CLIENT = create_app(FakeService()).test_client()
PATHS = {
    "/v1/recommend": payloads.RecommendRequest,
    "/v1/rank": payloads.RankRequest,
    "/v1/feedback": payloads.FeedbackRequest,
}
FIELDS = sorted(
    {name for model in PATHS.values() for name in model.model_fields} | set(payloads.FeedbackEvent.model_fields)
)
LIKELY = ["home", "search", "u1", "item 1", "SAR", "order", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00", 1, -1, 1e308]

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.sampled_from(LIKELY)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=9), inner),
    max_leaves=20,
)
documents = st.dictionaries(st.sampled_from(FIELDS), values, max_size=10)
plain = {"surface": "home", "user_id": "u1", "candidates": ["item 1"]}


def lenient(value: object) -> bytes:
    """JSON as a careless caller writes it: NaN, huge numbers and lone surrogates included."""
    return json.dumps(value).encode()


@settings(max_examples=150, deadline=None)
@given(path=st.sampled_from(sorted(PATHS)), content=values | documents | documents.map(lambda d: plain | d))
def test_no_json_makes_the_service_fail(path, content):
    response = CLIENT.post(path, data=lenient(content), content_type="application/json")
    assert response.status_code in {200, 400, 404, 409}
    assert isinstance(orjson.loads(response.data), dict)


@settings(max_examples=100, deadline=None)
@given(path=st.sampled_from(sorted(PATHS)), body=st.binary(max_size=200))
def test_no_bytes_make_the_service_fail(path, body):
    response = CLIENT.post(path, data=body, content_type="application/json")
    assert response.status_code == 400
