"""A bundle's table of contents: the hash of every file, the versions, and the facts that its parts must agree on.

A folder is written beside its final place and renamed, so that a reader sees a whole bundle or none. It holds data
alone: files of formats that no loader runs anything from, and no link that leads out of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

MANIFEST = "manifest.json"
FORMAT = 3


SAVEDMODEL = Path("ranker", "savedmodel")  # for TF-Serving: the service does not load it
DATA_FILES = {".json", ".txt", ".toml", ".npy", ".npz", ".parquet", ".onnx", ".pb", ".pbtxt", ".faiss"}
COPY_AGAIN = "Copy the bundle again from where it was exported, or export it again."


class BundleError(ValueError):
    """A bundle cannot be used: says which file or part, what was expected and found, and what to do."""


@dataclass(frozen=True)
class Manifest:
    """`files` relative path -> sha256; `versions` part -> content hash; `facts` what the parts were built for.

    `sha256` is that of all the others.
    """

    files: Mapping[str, str]
    versions: Mapping[str, str]
    facts: Mapping[str, str | int | float]
    format: int = FORMAT
    sha256: str = ""

    @property
    def content_sha256(self) -> str:
        """What `sha256` must be."""
        content = {"files": self.files, "versions": self.versions, "facts": self.facts, "format": self.format}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def version(self) -> str:
        """The bundle's own content hash."""
        return self.content_sha256[:12]


def file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(*paths: Path) -> str:
    """12 hex digits over the contents of files and folders, whatever the folders' place."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                name = str(file.relative_to(path)) if path.is_dir() else file.name
                digest.update(f"{name}\0{file_hash(file)}\n".encode())
    return digest.hexdigest()[:12]


def seal(
    folder: Path,
    *,
    versions: Mapping[str, str],
    facts: Mapping[str, str | int | float],
    known: Mapping[str, str] | None = None,
) -> Manifest:
    """Write the manifest of everything else in `folder`; `known` hashes, by relative path, are not computed again."""
    known = known or {}
    names = sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file() and f != folder / MANIFEST)
    files = {name: known.get(name) or file_hash(folder / name) for name in names}
    manifest = Manifest(files, dict(versions), dict(facts))
    manifest = replace(manifest, sha256=manifest.content_sha256)
    (folder / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1, sort_keys=True) + "\n")
    return manifest


def open_manifest(folder: Path, *, known: Collection[str] = ()) -> Manifest:
    """The manifest of `folder`, after every file was found as it was written; raises BundleError.

    Files that are `known` are not hashed again.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder} is not a bundle: it holds no {MANIFEST}. Give the folder that `export` wrote.")
    manifest = read_manifest(path)
    if manifest.format != FORMAT:
        raise BundleError(f"{path}: format {manifest.format}, this program reads {FORMAT}. Export the bundle again.")
    if manifest.sha256 != manifest.content_sha256:
        raise BundleError(
            f"{path} was changed after the export: expected sha256 {manifest.sha256[:12] or 'of nothing'}, and its "
            f"files, versions and facts have {manifest.content_sha256[:12]}. {COPY_AGAIN}"
        )
    _check_data_alone(folder)
    _check_files(folder, manifest, known=known)
    return manifest


def read_manifest(path: Path) -> Manifest:
    """The manifest in the file `path` as it is written there; raises BundleError."""
    try:
        return Manifest(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise BundleError(f"{path} cannot be read ({error}). Copy the bundle again, or export it again.") from error


def _check_data_alone(folder: Path) -> None:
    """Refuse what would make a loader run something, or read what is not in the bundle."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BundleError(f"bundle {folder}: {name} leads out of it, to {path.resolve()}. {COPY_AGAIN}")
        if not path.is_file() or name.is_relative_to(SAVEDMODEL):
            continue
        if path.suffix not in DATA_FILES:
            raise BundleError(
                f"bundle {folder}: {name} is of no kind that a bundle holds ({', '.join(sorted(DATA_FILES))}). A "
                "bundle is data: whatever a loader would run or unpickle is refused. Export it again."
            )


def _check_files(folder: Path, manifest: Manifest, *, known: Collection[str]) -> None:
    present = {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()} - {MANIFEST}
    if missing := sorted(set(manifest.files) - present):
        raise BundleError(f"bundle {folder} is incomplete: {missing} missing. {COPY_AGAIN}")
    if extra := sorted(present - set(manifest.files)):
        raise BundleError(f"bundle {folder} holds files that its manifest does not list: {extra}. {COPY_AGAIN}")
    for name, expected in manifest.files.items():
        if name in known:
            continue
        actual = file_hash(folder / name)
        if actual != expected:
            raise BundleError(
                f"bundle {folder}: {name} was changed after the export: expected sha256 {expected[:12]}, "
                f"found {actual[:12]}. {COPY_AGAIN}"
            )


def agree(expected: object, actual: object, *, what: str, fix: str) -> None:
    """Raise BundleError unless two parts of a bundle say the same."""
    if expected != actual:
        raise BundleError(
            f"the bundle's parts do not belong together: {what}: expected {expected}, found {actual}. {fix}"
        )


@contextlib.contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes `folder`'s name when the block ends well, and vanishes when it fails."""
    if folder.exists():
        raise BundleError(f"{folder} exists already; a bundle is never overwritten. Give another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield draft
        draft.chmod(0o755)
        os.rename(draft, folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def bundle_of(folder: Path) -> Path:
    """The bundle that the folder of a run or a service points to; the folder itself where it is one."""
    return folder / "bundle" if (folder / "bundle").exists() else folder


def point_current(pointer: Path, bundle: Path) -> None:
    """Make the symbolic link `pointer` name `bundle`, in one step: what running services follow."""
    draft = pointer.with_name(f".{pointer.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.symlink_to(os.path.relpath(bundle.resolve(), pointer.parent.resolve()))
    os.replace(draft, pointer)
