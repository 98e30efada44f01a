"""The public off-policy reference: ZOZOTOWN's random log asked about its Thompson sampling policy.

obp 0.4.1 answers IPW .00455288 and SNIPW .00477583 with 100,000 simulated draws at seed 12345.
"""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evaluation.counterfactual.decisions import evaluate_policy, policy_values, read
from evaluation.counterfactual.diagnostics import weight_diagnostics

HERE = Path(__file__).parent
DATA = (
    Path(os.environ.get("VALUE_MODEL_DATA", HERE.parents[1] / "../shared/data")) / "open_bandit/random/all/all.csv.gz"
)
PRIOR = json.loads((HERE / "zozotown_prior.json").read_text())
DRAWS, POSITIONS = 100_000, 3

pytestmark = pytest.mark.skipif(not DATA.exists(), reason=f"Open Bandit sample not found at {DATA}")


@pytest.fixture(scope="module")
def rounds():
    columns = ["item_id", "position", "click", "propensity_score"]
    return pd.read_csv(DATA, usecols=columns)[columns]


def share_by_position(rewards):
    """[80, 3]: how often each item stands at each position when items are sorted by their drawn rewards."""
    best = np.argsort(rewards, axis=1)[:, ::-1][:, :POSITIONS]
    return np.stack([np.bincount(best[:, at], minlength=80) for at in range(POSITIONS)], axis=1) / len(rewards)


def log_under(share, rounds):
    policy = np.ascontiguousarray(share.T[rounds["position"] - 1])
    return read(
        rounds["click"].to_numpy(float), rounds["item_id"].to_numpy(), rounds["propensity_score"].to_numpy(), policy
    )


def test_the_reference_is_reproduced_draw_for_draw(rounds):
    generator = np.random.RandomState(12345)  # the reference's own generator
    share = share_by_position(generator.beta(PRIOR["alpha"], PRIOR["beta"], size=(DRAWS, 80)))
    values = policy_values(log_under(share, rounds))
    assert values["ips"] == pytest.approx(0.00455288, abs=5e-9)
    assert values["snips"] == pytest.approx(0.00477583, abs=5e-9)
    assert rounds["click"].mean() == pytest.approx(0.0038)


def test_other_draws_agree_within_their_monte_carlo_error(rounds):
    rng = np.random.default_rng(0)
    share = share_by_position(rng.beta(PRIOR["alpha"], PRIOR["beta"], size=(DRAWS, 80)))
    clicks = np.zeros((80, POSITIONS))
    np.add.at(clicks, (rounds["item_id"], rounds["position"] - 1), rounds["click"])
    error = 80 / len(rounds) * np.sqrt((clicks**2 * share * (1 - share)).sum() / DRAWS)
    values = policy_values(log_under(share, rounds))
    assert abs(values["ips"] - 0.00455288) < 4 * np.sqrt(2) * error  # both sides were sampled
    assert abs(values["snips"] - 0.00477583) < 8 * np.sqrt(2) * error


def test_the_interval_is_honest_about_38_clicks(rounds):
    rng = np.random.default_rng(1)
    log = log_under(share_by_position(rng.beta(PRIOR["alpha"], PRIOR["beta"], size=(DRAWS, 80))), rounds)
    answer = evaluate_policy(log, rng=rng)["ips"]
    assert answer.method == "betting"
    assert 0 <= answer.low < 0.0038 < answer.high  # 38 clicks cannot tell the policies apart
    assert "5 effective units" in answer.reason
    assert weight_diagnostics(log.weight).effective < len(rounds) / 4
