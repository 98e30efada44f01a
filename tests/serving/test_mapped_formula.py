"""A value formula that reads a mapped number: checked, served as it was sent, logged and replayed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_mapped_features import NOW, SENT, ask, slate_of

from marketplace.memory_log import MemoryLog
from serving.app import create_app
from serving.bundle import build_engine
from serving.manifest import BundleError
from serving.replay import replay
from value_model.formula import parse_policy, to_toml
from value_model.policy_checks import check_policy

FAR = """
[weights.w_far]
value = 2.0
unit = "SAR / impression"
low = 0.0
high = 9.0
sign = "+"
reason = "What is far is dear to deliver."

[quantities.NAME]
unit = "1"
low = 0
high = 1
sign = "-"
missing = 0.5
meaning = "share of the way across the city"
"""


def with_distance(bundle, *, name="distance"):
    """The bundle as if its policy file took off w_far x distance."""
    text = to_toml(replace(bundle.policy, slate=None))
    text = text.replace("w_click * ctr", f"0 - w_far * {name} + w_click * ctr", 1) + FAR.replace("NAME", name)
    return replace(bundle, policy=parse_policy(text))


def test_it_is_checked_served_logged_and_replayed(bundle, market):
    reading = with_distance(bundle)
    assert not [finding for finding in check_policy(reading.policy) if finding.severity == "error"]
    engines = {name: build_engine(one, log=MemoryLog()) for name, one in (("plain", bundle), ("far", reading))}
    slates = {}
    for name, engine in engines.items():
        client = create_app(engine, clock=lambda: NOW).test_client()
        answer = client.post("/v1/rank", json=ask(market, request_id=name, seed=1, **SENT))
        assert answer.status_code == 200, answer.json
        slates[name] = slate_of(engine.log, name)
        assert replay(engine.parts, slates[name]).same
    distance = np.array([0.1, 0.5, 0.9])  # the second was not sent
    assert slates["far"].weights["w_far"] == 2.0
    assert slates["plain"].value - slates["far"].value == pytest.approx(2.0 * distance, abs=1e-6)


def test_a_number_that_nothing_maps_is_refused(bundle):
    with pytest.raises(BundleError, match="lateness"):
        build_engine(with_distance(bundle, name="lateness"), log=MemoryLog())
