"""scikit-uplift's areas and a bootstrap of its Qini, timed in its own environment: run.py ARRAYS.npz ANSWER.json."""

import json
import sys
import time
import warnings

import numpy as np

warnings.filterwarnings("ignore")

from sklift.metrics import qini_auc_score, uplift_at_k, uplift_auc_score  # noqa: E402

with np.load(sys.argv[1]) as file:
    data = dict(file)
outcome, treated, counts = data["outcome"], data["treated"], data["counts"]
answer = {}
for name in (name for name in data if name.startswith("score: ")):
    score = data[name]
    answer[name] = {
        "qini": float(qini_auc_score(outcome, score, treated)),
        "auuc": float(uplift_auc_score(outcome, score, treated)),
    }
    if len(np.unique(score)) == len(score):  # it cuts ties in the order of the rows
        answer[name] |= {
            f"uplift@{k:.0%}": float(uplift_at_k(outcome, score, treated, strategy="overall", k=k)) for k in (0.1, 0.3)
        }
start, draws = time.process_time(), []
for times in counts:
    rows = np.repeat(np.arange(len(outcome)), times)
    draws.append(float(qini_auc_score(outcome[rows], data["score: DR"][rows], treated[rows])))
seconds = time.process_time() - start
with open(sys.argv[2], "w") as file:
    json.dump({"scores": answer, "draws": draws, "seconds": seconds}, file)
