"""The policies of a run's or a service's folder: its `bundle` is a link to bundles/N, which running services follow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from desk.publication import PolicyTrial, ServedPolicy
from desk.versions import Versions
from serving.bundle import POLICY_FILE, STAGED_FILE
from serving.manifest import MANIFEST, BundleError, Manifest, point_current, read_manifest
from serving.policy_bundle import write_policy_bundle
from value_model.formula import PolicyError, ValuePolicy, load_policy


@dataclass(frozen=True)
class BundleService:
    """A `PolicyService` over the bundles of `folder`."""

    folder: Path

    @classmethod
    def of(cls, folder: Path) -> BundleService:
        """Raises BundleError for a folder without a bundle, or whose `bundle` is no link."""
        link = folder / "bundle"
        if not (link / MANIFEST).exists():
            raise BundleError(f"{folder} holds no bundle: export one first (`value-model export {folder}`).")
        if not link.is_symlink():
            raise BundleError(
                f"{link} is a folder; what is published is followed through a link. Write "
                f"`mkdir -p {folder}/bundles && mv {link} {folder}/bundles/1 && ln -s bundles/1 {link}`."
            )
        return cls(folder)

    @property
    def bundle(self) -> Path:
        """The folder of the bundle that is served."""
        return (self.folder / "bundle").resolve()

    def served(self) -> ServedPolicy:
        """Raises BundleError."""
        try:
            return policy_of_bundle(self.bundle)
        except (OSError, PolicyError, KeyError) as error:
            raise BundleError(f"the bundle in force, {self.bundle}, cannot be read: {error}") from error

    @property
    def manifest(self) -> Manifest:
        """Of the bundle that is served."""
        return read_manifest(self.bundle / MANIFEST)

    def prepare(self, policy: ServedPolicy) -> Path:
        place = next_bundle(self.folder)
        write_policy_bundle(self.folder / "bundle", policy, place)
        return place

    def switch(self, prepared: Path) -> None:
        point_current(self.folder / "bundle", prepared)


def policy_of_bundle(bundle: Path) -> ServedPolicy:
    """What a bundle's folder holds."""
    policy, trial = load_policy(bundle / POLICY_FILE), None
    if (bundle / STAGED_FILE).exists():
        share = float(read_manifest(bundle / MANIFEST).facts["staged_share"])
        trial = PolicyTrial(load_policy(bundle / STAGED_FILE), share)
    return ServedPolicy(policy, trial)


POLICIES = "policies"  # the history of what was published, beside the bundles


def published_policy(folder: Path) -> ValuePolicy | None:
    """What the folder's bundle serves, where somebody published or rolled back; None = as the run was made."""
    if not Versions(folder / POLICIES).entries() or not (folder / "bundle" / POLICY_FILE).exists():
        return None
    return load_policy(folder / "bundle" / POLICY_FILE)


def bundles_of(folder: Path) -> tuple[Path, ...]:
    """The folders of the bundles in bundles/, oldest first."""
    bundles = folder / "bundles"
    if not bundles.is_dir():
        return ()
    return tuple(sorted((path for path in bundles.iterdir() if path.name.isdigit()), key=lambda path: int(path.name)))


def next_bundle(folder: Path) -> Path:
    """The folder after the newest bundle."""
    numbers = [int(path.name) for path in bundles_of(folder)]
    return folder / "bundles" / str(max(numbers, default=0) + 1)
