"""obp's seven estimators, timed in obp's own environment: run.py ARRAYS.npz ANSWER.json ROUNDS.

obp imports torch for estimators that are not run here; an empty stand-in keeps the environment small.
"""

import json
import sys
import time
from types import ModuleType

import numpy as np


class Anything(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return cls


class Stub(ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(name, (), {"__init__": lambda self, *a, **k: None})


for name in ("torch", "torch.nn", "torch.nn.functional", "torch.optim", "torch.utils", "torch.utils.data"):
    sys.modules[name] = Stub(name)

from obp import ope  # noqa: E402

SEVEN = {
    "ips": ope.InverseProbabilityWeighting(),
    "snips": ope.SelfNormalizedInverseProbabilityWeighting(),
    "dm": ope.DirectMethod(),
    "dr": ope.DoublyRobust(),
    "sndr": ope.SelfNormalizedDoublyRobust(),
    "switch_dr": ope.SwitchDoublyRobust(lambda_=10.0),
    "shrunk_dr": ope.DoublyRobustWithShrinkage(lambda_=100.0),
}


def values(data):
    rounds = {
        "reward": data["reward"],
        "action": data["action"],
        "pscore": data["propensity"],
        "position": np.zeros(len(data["reward"]), int),
        "action_dist": data["policy"][:, :, None],
        "estimated_rewards_by_reg_model": data["model"][:, :, None],
    }
    return {name: float(estimator.estimate_policy_value(**rounds)) for name, estimator in SEVEN.items()}


if __name__ == "__main__":
    with np.load(sys.argv[1]) as arrays:
        data = dict(arrays)
    seconds = []
    for _ in range(int(sys.argv[3])):
        start = time.process_time()
        result = values(data)
        seconds.append(time.process_time() - start)
    with open(sys.argv[2], "w") as file:
        json.dump({"values": result, "seconds": seconds}, file)
