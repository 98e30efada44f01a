"""The value formula on the truth of a simulated market: what a list is worth by a policy, place's effect included."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from marketplace.simulator import RequestBatch, SampledOutcomes, Simulation
from marketplace.simulator.true_value import Worth
from value_model.formula import ValuePolicy, evaluate
from value_model.merchant import MerchantTable


def true_worth(simulation: Simulation, policy: ValuePolicy, requests: RequestBatch) -> Worth:
    """Of lists that answer `requests`: float64 [R, k] in the formula's unit, 0 where nothing is shown."""
    dataset = simulation.dataset
    merchants = MerchantTable.from_table(dataset.merchants)
    codes = merchants.codes(dataset.items["merchant_id"])
    table = simulation.request_table(requests)
    applied = [policy.weights_for(surface=surface.as_py()) for surface in table["surface"]]
    weights = {name: np.array([row[name] for row in applied])[:, None] for name in policy.weight}
    start = simulation.config.start
    seconds = np.array([(start + timedelta(days=float(day))).timestamp() for day in requests.day])

    def worth(outcomes: SampledOutcomes) -> np.ndarray:
        columns = merchants.quantities_at(codes[outcomes.item], seconds=seconds[:, None])
        columns |= {"ctr": outcomes.click, "ctcvr": outcomes.order, "gmv": outcomes.gmv}
        return np.where(outcomes.item >= 0, evaluate(policy, columns, weights=weights), 0.0)

    return worth
