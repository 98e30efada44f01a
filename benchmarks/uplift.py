"""Uplift on K. Hillstrom's e-mails: is it scikit-uplift's on the same scores, how fast, and does targeting pay?

64,000 customers, a third each with an e-mail of men's goods, of women's, and with none, by a draw; the outcome is a
visit within two weeks. scikit-uplift runs in a fresh environment of its own, on the same scores and the same bootstrap
samples; both sides on one thread, timed by the processor time they use. Its side times Qini alone, ours Qini, AUUC and
uplift@k in one pass.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from scipy.stats import t as student

from benchmarks.record import Measure, record, skip
from evaluation import bootstrap
from evaluation.uplift.held_out import HeldOut, held_out_effects
from evaluation.uplift.learners import LEARNERS
from evaluation.uplift.measures import gain_metrics
from evaluation.uplift.targeting import target
from evaluation.uplift.trial import Trial
from jobs.data import data_root
from jobs.uplift.answers import OUTCOME, RANDOM, targeting_answer, treatment_answer
from jobs.uplift.trial_file import TrialColumns, read_trial
from value_model.rankers.tree_learner import TreeLearner, effect_ladder

SEED, REPLICATES, WORTH, COST = 7, 100, 1.5, 0.1
KNOWN = 6  # made-up trials of known effects
FEATURES = ("recency", "history", "history_segment", "mens", "womens", "zip_code", "newbie", "channel")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
WOMENS = 2


def main() -> None:
    file = data_root() / "hillstrom" / "hillstrom.csv.gz"
    if not file.exists():
        skip("uplift", f"{file} is not there")
    columns = TrialColumns("segment", "No E-Mail", "visit", FEATURES, randomised=True)
    trial, categories = read_trial(file, columns)
    rng = np.random.default_rng(SEED)
    held_out = held_out_effects(trial, TreeLearner(categories), rng, ladder=effect_ladder(categories))
    measures = [*beside_scikit_uplift(trial, held_out, rng), *learned(trial, held_out, rng), *known_effects(rng)]
    record("uplift", measures, data="Hillstrom's e-mails, 64,000 customers, visits; and made-up ones", seed=SEED)


def beside_scikit_uplift(trial: Trial, held_out: HeldOut, rng: np.random.Generator) -> list[Measure]:
    """Of the women's e-mail: equality on scores with ties and without, and the time of REPLICATES samples."""
    rows = trial.pair(WOMENS)
    outcome, treated, table = trial.outcome[rows], trial.arm[rows] == WOMENS, trial.table[rows]
    scores = {"DR": held_out.effects["DR"][rows, WOMENS - 1], "recency": -table[:, 0], "history": table[:, 1]}
    scores["noise"] = rng.random(len(outcome))
    samples = bootstrap.resample(len(outcome), rng, replicates=REPLICATES)
    arrays = {f"score: {name}": score.astype(np.float64) for name, score in scores.items()}
    arrays |= {"outcome": outcome.astype(np.int64), "treated": treated.astype(np.int64), "counts": samples.counts}
    with tempfile.TemporaryDirectory() as name:
        theirs = answer_of(Path(name), arrays)
    start = time.process_time()
    ours = gain_metrics(scores["DR"], outcome, treated, samples=samples)
    seconds = time.process_time() - start
    alone = bootstrap.Samples(samples.counts[:1], samples.shopper)
    gaps = [float(np.abs(ours["qini"].draws - theirs["draws"]).max())]
    for name, answer in theirs["scores"].items():
        metrics = gain_metrics(arrays[name], outcome, treated, samples=alone)
        gaps += [abs(metrics[key].value - value) for key, value in answer.items()]
    flat = gain_metrics(np.zeros(len(outcome)), outcome, treated, samples=samples)["qini"]
    worst = float(np.abs(flat.draws).max())
    return [
        Measure("largest gap to scikit-uplift's qini, auuc, uplift@k", max(gaps), "1", "<= 1e-9"),
        Measure("largest |qini| of a score that is the same for all, 100 samples", worst, "1", "<= 0"),
        Measure(f"scikit-uplift: Qini of {REPLICATES} samples", theirs["seconds"], "CPU s"),
        Measure(f"ours: Qini, AUUC, uplift@k of {REPLICATES} samples", seconds, "CPU s"),
        Measure("speed-up", theirs["seconds"] / seconds, "x", ">= 7"),
    ]


def answer_of(folder: Path, arrays: dict[str, np.ndarray]) -> dict:
    """scikit-uplift's answer, from an environment made in `folder`; ends the benchmark where that is impossible."""
    python = folder / "peer" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder / "peer")], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "scikit-uplift==0.5.1"]
    if subprocess.run(pip).returncode:
        skip("uplift", "scikit-uplift could not be installed in an environment of its own")
    np.savez(folder / "arrays.npz", **arrays)
    run = Path(__file__).parent / "scikit_uplift" / "run.py"
    files = [str(folder / "arrays.npz"), str(folder / "answer.json")]
    subprocess.run([str(python), str(run), *files], check=True, env=os.environ | ONE_THREAD)
    return json.loads((folder / "answer.json").read_text())


def learned(trial: Trial, held_out: HeldOut, rng: np.random.Generator) -> list[Measure]:
    """How the learners order whom the women's e-mail moves, and what targeting both e-mails is worth."""
    answer = treatment_answer(trial, held_out, WOMENS, rng=rng, replicates=REPLICATES)
    measures = [
        Measure(f"women's e-mail: Qini, {name}", row["qini"].value, "1", None, (row["qini"].low, row["qini"].high))
        for name, row in answer.metrics.items()
    ]
    costs = np.full(trial.treatments, COST)
    targeting = targeting_answer(trial, held_out, learner="DR", worth=WORTH, costs=costs, budget=np.inf, rng=rng)
    for name in ("by DR", OUTCOME, RANDOM):
        gain = targeting.values[name].gain
        bar = "> 0" if name == "by DR" else None
        interval = (1000 * gain.low, 1000 * gain.high)
        unit = f"money / 1,000 customers; a visit is worth {WORTH}, an e-mail costs {COST}"
        measures.append(Measure(f"targeting {name}: gain over no e-mail", 1000 * gain.value, unit, bar, interval))
    return measures


def known_effects(rng: np.random.Generator) -> list[Measure]:
    """Customers whose effects are known: rank correlation, and targeting a fifth of them beside the best fifth."""
    trials = [known_trial(rng) for _ in range(KNOWN)]
    measures = []
    for name in LEARNERS:
        correlation, share = zip(*(one[name] for one in trials), strict=True)
        measures.append(Measure(f"known effects: rank correlation, {name}", float(np.mean(correlation)), "1"))
        bar = ">= 0.95" if name == "DR" else None
        text = f"known effects: a fifth targeted by {name}, over the best fifth"
        measures.append(Measure(text, float(np.mean(share)), "1", bar, interval(share)))
    return measures


def known_trial(rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """By learner: rank correlation with the true effects, and what its fifth gains over what the best fifth would."""
    rows, treated = 60_000, 12_000
    table = rng.normal(size=(rows, 6))
    effect = 0.05 + 0.15 * np.tanh(table[:, 0]) * (table[:, 1] > 0) - 0.1 * (table[:, 2] > 1)
    arm = (rng.random(rows) < 0.5).astype(np.int64)
    rate = 0.25 + 0.1 * np.tanh(table[:, 3]) + arm * effect
    outcome = (rng.random(rows) < rate).astype(np.float64)
    trial = Trial(table, arm, outcome, propensity=np.full((rows, 2), 0.5))
    best = np.sort(effect)[-treated:].sum()
    answers = {}
    for name, predicted in held_out_effects(trial, TreeLearner(), rng, ladder=effect_ladder()).effects.items():
        chosen = target(predicted, np.ones((rows, 1)) * 1e-6, budget=treated * 1e-6).arm > 0
        answers[name] = float(spearmanr(predicted[:, 0], effect).statistic), float(effect[chosen].sum() / best)
    return answers


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % of the mean, by Student's t."""
    half = float(student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return float(np.mean(values)) - half, float(np.mean(values)) + half


if __name__ == "__main__":
    os.environ.update(ONE_THREAD)
    main()
