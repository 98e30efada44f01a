"""A run is a folder: its configuration, seed and versions, what each stage made, and which stages are done.

run.json            configuration, versions of packages, and the program's commit when the run was last taken up
data/               the data set's tables, Parquet
tensorboard/        curves of the fits, by epoch
surfaces.toml       the recipe of each surface, to be edited
retrieval/          towers, candidate sources, item embeddings
ranker/             network, boosted trees, their pool, which one serves, calibrators, held-out predictions
                    (losses.json in these two: losses by epoch, and the settings of the fit)
evaluation/         metrics.json, report.html, plots
bundle/             what the service loads
stages.json         the stages that are done, with their seconds and peak memory
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from jobs.config import RunConfig
from jobs.provenance import commit
from marketplace.finding import DataError
from marketplace.settings import changes
from marketplace.toml_model import as_model
from marketplace.toml_text import TomlText

CHECKPOINT = "checkpoint.npz"  # of a fit, in its stage's folder: where an interrupted stage goes on
PACKAGES = ("value-model", "numpy", "pyarrow", "tensorflow", "tensorflow-recommenders", "tensorflow-ranking", "scann")


class RunFolder:
    """The folder of one run; a stage that is done is not done again."""

    def __init__(self, path: Path, config: RunConfig) -> None:
        self.path = path
        self.config = config

    @classmethod
    def create(cls, path: Path, config: RunConfig) -> RunFolder:
        """Make the folder, or take up an existing one: its configuration must be the same."""
        path.mkdir(parents=True, exist_ok=True)
        kept = path / "run.json"
        if kept.exists() and (earlier := _config(kept)) != config:
            changed = ", ".join(f"{name} {before!r} (now {now!r})" for name, before, now in changes(earlier, config))
            raise RunFolderError(
                f"{path} holds a run with other settings: {changed}. Choose another --out, or remove it."
            )
        versions = {package: version(package) for package in PACKAGES}
        about = {"config": asdict(config), "versions": versions, "commit": commit()}
        kept.write_text(json.dumps(about, indent=1) + "\n")
        return cls(path, config)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run."""
        kept = path / "run.json"
        if not kept.exists():
            raise RunFolderError(
                f"{path} is not a run: it has no run.json. Make one with `value-model run --out {path}`."
            )
        return cls(path, _config(kept))

    def part(self, name: str) -> Path:
        """The folder of one part, made when missing."""
        folder = self.path / name
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads that the run's ranker learned; none where there is no ranker."""
        trained = self.path / "ranker" / "network" / "network.json"
        return tuple(json.loads(trained.read_text())["heads"]) if trained.exists() else ()

    @property
    def stages(self) -> dict[str, dict[str, float]]:
        """Stage name -> seconds and peak memory (MB) of the stages that are done, in the order they ran."""
        kept = self.path / "stages.json"
        return json.loads(kept.read_text()) if kept.exists() else {}

    def stage(self, name: str, work: Callable[[], None], *, again: bool = False) -> None:
        """Do `work` unless it is done; a stage that is done again forgets the stages after it."""
        done = self.stages
        if name in done and not again:
            print(f"== {name}: done before, kept")
            return
        print(f"== {name}", flush=True)
        start = time.perf_counter()
        work()
        (self.path / name / CHECKPOINT).unlink(missing_ok=True)  # a stage that is done again starts anew
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        earlier = list(done)[: list(done).index(name)] if name in done else list(done)
        kept = {stage: done[stage] for stage in earlier}
        kept[name] = {"seconds": round(time.perf_counter() - start, 2), "peak_mb": round(peak)}
        self._keep(kept)
        print(f"   {kept[name]['seconds']:.1f} s", flush=True)

    def take_over(self, other: RunFolder, stage: str) -> None:
        """What `stage` made in another run, as if made here; data are linked: a stage writes them into new files."""
        copy = os.link if stage == "data" else shutil.copy2
        shutil.copytree(other.path / stage, self.path / stage, copy_function=copy, dirs_exist_ok=True)
        if (recipes := other.path / "surfaces.toml").exists():
            shutil.copy2(recipes, self.path)
        self._keep(self.stages | {stage: other.stages[stage]})
        print(f"== {stage}: of {other.path}")

    def _keep(self, stages: Mapping[str, Mapping[str, float]]) -> None:
        (self.path / "stages.json").write_text(json.dumps(stages, indent=1) + "\n")


def _config(kept: Path) -> RunConfig:
    """The settings in run.json; one that is younger than the run has its default."""
    try:
        return as_model(TomlText(str(kept), json.loads(kept.read_text())["config"], {}), RunConfig)
    except DataError as error:
        raise RunFolderError(f"{kept} holds settings that this version does not know; run anew.\n{error}") from error


class RunFolderError(ValueError):
    """A run folder that is missing or belongs to another configuration."""
