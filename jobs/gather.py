"""Gather: the log where the logs of several machines come together teaches the features that these share."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from evaluation.experiments.experiment_folder import EXPERIMENTS
from marketplace.log import Log
from serving.bundle import build_engine, load_bundle, redis_store
from serving.engine import RankingEngine
from serving.manifest import bundle_of
from serving.service import LiveService, NotReady


class Gatherer:
    """Teaches the features of the bundle that run `folder` serves, in the Redis at `url`, what `log` holds.

    Raises StoreUnavailable, and ValueError where the bundle cannot be served or another log has taught them.
    """

    def __init__(self, folder: Path, log: Log, url: str) -> None:
        def build(bundle_folder: Path, experiments: Path | None = None) -> RankingEngine:
            bundle = load_bundle(bundle_folder)
            store = redis_store(bundle, url, log=log)
            return build_engine(bundle, log=log, store=store, experiments=experiments, variants=build)

        self._folder = folder
        pointer = bundle_of(folder)
        experiments = pointer.absolute().parent / EXPERIMENTS
        self._services = LiveService(
            pointer, build=partial(build, experiments=experiments), run=lambda task: task(), every=0.5
        )

    def follow(self) -> None:
        """Teach what has come since the last time; of another bundle, where that serves now."""
        self._services.follow()
        try:
            service = self._services.current()
        except NotReady as error:
            raise ValueError(f"{self._folder} teaches no features: {error}") from error
        service.read_log()
