"""Policy bundle: a new version of a bundle with another value policy over the same models, in seconds.

Every file but the policy is the same file under a second name (a hard link; a copy where the disk has none), with the
hash that it was checked by. The fact `savedmodel_policy` names the policy in the SavedModel's signature `value`, which
stays that of the export; `heads` and `value_with_weights` hold for all weights of one formula.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path

from desk.publication import PolicyTrial, ServedPolicy
from marketplace.memory_log import MemoryLog
from serving.bundle import POLICY_FILE, STAGED_FILE, build_engine, load_bundle
from serving.manifest import Manifest, open_manifest, seal, written_whole
from serving.policy_renewal import TRIAL_FACTS
from serving.trial_requests import try_out
from value_model.formula import to_toml


def write_policy_bundle(models: Path, served: ServedPolicy, folder: Path) -> Manifest:
    """Write the new `folder`: the bundle `models` under the policy of `served`, with its trial beside it.

    Raises BundleError where the bundle is damaged, or the policy reads what it does not hold; then nothing is left.
    """
    models = models.resolve()
    before = open_manifest(models)
    with written_whole(folder) as draft:
        shared = {name: digest for name, digest in before.files.items() if name not in (POLICY_FILE, STAGED_FILE)}
        for name in shared:
            _link(models / name, draft / name)
        (draft / POLICY_FILE).write_text(to_toml(served.policy), encoding="utf-8")
        if served.trial is not None:
            (draft / STAGED_FILE).write_text(to_toml(served.trial.policy), encoding="utf-8")
        versions = {**before.versions, "policy": served.policy.version}
        manifest = seal(draft, versions=versions, facts=_facts(before, served.trial), known=shared)
        check_bundle(draft, known=[name for name in shared if (models / name).samefile(draft / name)])
    return manifest


def check_bundle(folder: Path, *, known: Collection[str] = ()) -> None:
    """Load a bundle, and answer trial requests of two shoppers and of one who sees its staged policy.

    Files that are `known` were hashed just now. Raises BundleError where it cannot serve.
    """
    bundle = load_bundle(folder, known=known)
    engine, shoppers = build_engine(bundle, log=MemoryLog()), bundle.catalogue.users["user_id"]
    on_trial = filter(lambda user: engine.parts.for_shopper(user) is not engine.parts, _names())
    staged = [] if bundle.staged is None else islice(on_trial, 1)
    try_out(engine, users=[*shoppers.slice(0, 2).to_pylist(), *staged])


def _names() -> Iterator[str]:
    return (f"shopper {number} of the trial requests" for number in range(100_000))


def _facts(before: Manifest, trial: PolicyTrial | None) -> Mapping[str, str | int | float]:
    kept = {name: fact for name, fact in before.facts.items() if name not in TRIAL_FACTS}
    kept.setdefault("savedmodel_policy", before.versions["policy"])
    if trial is None:
        return kept
    return kept | {"staged_policy": trial.policy.version, "staged_share": trial.share}


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
