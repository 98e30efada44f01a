"""Policy renewal: an engine goes over to another policy of the same models, between two requests.

The models of a policy bundle are the very files of the bundle before it (hard links), which were hashed when that one
was loaded: nothing is read but the policies, and what the engine has learned stays.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from serving.bundle import POLICY_FILE, STAGED_FILE, check_policies, policy_parts, promising
from serving.engine import RankingEngine
from serving.manifest import MANIFEST, Manifest, open_manifest, read_manifest
from serving.trial_requests import try_out
from value_model.formula import load_policy

TRIAL_FACTS = ("staged_policy", "staged_share")


def renew(engine: RankingEngine, loaded: Path, target: Path) -> bool:
    """Whether the engine of the bundle `loaded` serves `target` now.

    Not where more than the policies differs, where experiments run beside them, or merchants are promised exposure:
    such a bundle is loaded. Raises BundleError for one that cannot be served; then the engine is as it was.
    """
    before, after = read_manifest(loaded / MANIFEST), read_manifest(target / MANIFEST)
    content = engine.experiments.content
    if before.version != engine.parts.bundle or content.experiments or content.faults or engine.pacing is not None:
        return False
    models = before.files.keys() - {POLICY_FILE, STAGED_FILE}
    if _models(before) != _models(after) or not all((loaded / name).samefile(target / name) for name in models):
        return False
    manifest = open_manifest(target, known=models)
    policy = load_policy(target / POLICY_FILE)
    staged = load_policy(target / STAGED_FILE) if STAGED_FILE in manifest.files else None
    if promising(policy):
        return False
    check_policies(policy, staged, manifest, currency=engine.parts.currency)
    builder = engine.experiments.builder.under(policy)
    changed = policy_parts(builder, policy, staged, manifest)
    parts = replace(engine.parts, bundle=manifest.version, versions=manifest.versions, **changed)
    for tried in (parts, *([] if parts.staged is None else [parts.under([parts.staged.arm])])):
        try_out(engine, parts=tried)
    engine.renew(parts, builder)
    return True


def _models(manifest: Manifest) -> tuple[object, ...]:
    """All that a manifest says but of its policies."""
    files = {name: digest for name, digest in manifest.files.items() if name not in (POLICY_FILE, STAGED_FILE)}
    versions = {part: version for part, version in manifest.versions.items() if part != "policy"}
    facts = {name: fact for name, fact in manifest.facts.items() if name not in (*TRIAL_FACTS, "savedmodel_policy")}
    return files, versions, facts, manifest.format
