"""Tune the policy in force on a generation's newest requests, and stage what is promised to a share of the shoppers.

Nothing is put in force. The weights of one owner alone are searched, within the bounds of the policy's file; what is
proposed passes the checks of every publication, and people publish or end the trial.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from desk.publication import RefusedError
from jobs.publish import policies_in_force
from jobs.tune.job import POLICY, tune
from serving.bundle import POLICY_FILE
from serving.policies_in_force import PublishRequest
from value_model.formula import load_policy

SHARE = 0.1  # of the shoppers
TRIALS = 240  # of the search


def tune_generation(home: Path, folder: Path, *, maximise: str, owner: str) -> str:
    """What became of it, in a line. Raises what `jobs.tune.job.tune` raises.

    `home`: the folder whose service is tuned; `folder`: the generation, a run that was evaluated.
    """
    policies, now = policies_in_force(home), datetime.now(UTC)
    served = policies.served()
    if served.trial is not None:
        return f"version {served.trial.policy.version} is on trial: publish it or end the trial first"
    if any(policies.warnings(now=now)):
        return "an experiment runs, whose control the policy in force is"
    moved = [weight.name for weight in served.policy.weights if weight.owner == owner and weight.term and weight.high]
    if not moved:
        owners = ", ".join(sorted({weight.owner for weight in served.policy.weights}))
        return f"no weight that can be searched belongs to {owner!r}; there are those of {owners}"
    in_force = home / "bundle" / POLICY_FILE
    if tune(folder, maximise=maximise, weights=",".join(moved), trials=TRIALS, policy=in_force, service=home):
        return "no other weights are promised: today's stay"
    proposed = folder / "tuning" / POLICY
    reason = f"Tuned to maximise {maximise} on the newest requests of generation {folder.name}."
    request = PublishRequest(owner, reason, base=served.policy.version, share=SHARE)
    try:
        saved = policies.put(load_policy(proposed), request, now=now)
    except RefusedError as refusal:
        return f"{proposed} was {refusal}"
    return f"version {saved.record.version} is staged to {SHARE:.0%} of the shoppers ({folder / 'tuning'})"
