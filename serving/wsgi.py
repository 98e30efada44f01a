"""The gunicorn factory, configured by the environment:

gunicorn -c python:serving.gunicorn_settings 'serving.wsgi:create()' --workers 2 --bind 127.0.0.1:8080

VALUE_MODEL_BUNDLE           a bundle folder, or a symbolic link to one that is followed when it is moved
VALUE_MODEL_LOG              the SQLite log that every worker appends to; made where it is not there
VALUE_MODEL_FEATURES         the Redis where users' and items' memories live (redis://HOST:PORT/DATABASE)  [in memory]
VALUE_MODEL_GATHERED         1 = a machine among several, which share that Redis: a gathered log teaches it
                             (docs/cluster.md)  [0: this log does]
VALUE_MODEL_TF_SERVING       HOST:PORT of a TF-Serving that scores (docs/tf-serving.md)  [the worker scores]
VALUE_MODEL_TF_SERVING_SECONDS    how long it may take before the worker scores by itself  [0.1]
VALUE_MODEL_EXPERIMENTS      the folder of experiments, followed  [experiments, beside the bundle]
VALUE_MODEL_POLL_SECONDS     how often the link is looked at  [0.5]
VALUE_MODEL_QUEUE_SECONDS    how long a request may wait for its worker before it is refused  [0.5]
VALUE_MODEL_SYNC_LOG         1 = an answer waits until its slate survives a power cut  [0]
VALUE_MODEL_KEYS_FILE        a TOML file of API keys (serving/keys.py), followed; without keys all may do everything
VALUE_MODEL_KEYS             the same as text, instead of a file
VALUE_MODEL_SHARE_MEMORY     1 = workers that start together share the bundle's memory  [0]
VALUE_MODEL_CONSOLE_SECRET   signs the console's sessions; made by gunicorn's parent process where it is not set
VALUE_MODEL_DESK             the Unix socket of the desk's process (jobs/console_desk.py), for the console
OTEL_EXPORTER_OTLP_ENDPOINT  the collector that spans of every answer are sent to (docs/operations.md)  [none]
PROMETHEUS_MULTIPROC_DIR     an empty folder, where /metrics adds up all workers
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any

from evaluation.experiments.experiment_folder import EXPERIMENTS
from features.backends.redis_slates import SharedSlates
from features.store import StoreUnavailable
from marketplace.finding import DataError
from marketplace.log import LogUnavailable
from marketplace.schema import SchemaError
from marketplace.sqlite_log import SqliteLog
from serving.admission_queue import LONGEST
from serving.app import create_app
from serving.bundle import ModelBundle, build_engine, load_bundle, own_scorer, redis_store
from serving.console.sessions import ConsoleSettings
from serving.engine import RankingEngine
from serving.key_file import KeyFile
from serving.keys import KeyRing, Keys
from serving.machine_log import MachineLog
from serving.memory import settle
from serving.policies_in_force import MaterialOf, PoliciesInForce, no_material
from serving.policy_renewal import renew
from serving.scorer import Scorer
from serving.service import FRESH, LiveService
from serving.store_checkpoint import StoreCheckpoint
from serving.tf_serving_scorer import MODEL, SECONDS, TfServingScorer
from serving.tracing import NoTracing, Tracing, tracing
from serving.trial_requests import try_out

LOG_WAIT = timedelta(seconds=3)  # for a lock of the log; far below gunicorn's time-out of a worker, 30 seconds


BOOT_FAILED = 3  # by which gunicorn knows that another worker would fail as well
logger = logging.getLogger(__name__)


class NotConfigured(RuntimeError):
    """The environment lacks a setting, or holds one that cannot be used."""


def create(environment: Mapping[str, str] = os.environ, *, material_of: MaterialOf = no_material) -> Any:
    """The WSGI application of one worker: where a bundle cannot be loaded /readyz says why, and the next is awaited.

    `material_of` gives the requests that policies are tried on before they are put in force. Where settings or log
    cannot be used, one line says why, and gunicorn ends with BOOT_FAILED.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        return _application(environment, material_of)
    except (NotConfigured, SchemaError, LogUnavailable, StoreUnavailable) as error:
        logger.critical("%s", error)
        raise SystemExit(BOOT_FAILED) from error


def _application(environment: Mapping[str, str], material_of: MaterialOf) -> Any:
    pointer = Path(_setting(environment, "VALUE_MODEL_BUNDLE", "the folder of a bundle, or a link to one"))
    path = Path(_setting(environment, "VALUE_MODEL_LOG", "the SQLite file that slates and feedback are appended to"))
    experiments = Path(environment.get("VALUE_MODEL_EXPERIMENTS") or pointer.absolute().parent / EXPERIMENTS)
    features, scorer_of = environment.get("VALUE_MODEL_FEATURES"), _scorers(environment)
    path.parent.mkdir(parents=True, exist_ok=True)
    gathered = environment.get("VALUE_MODEL_GATHERED", "0") == "1"
    log = _log(path, features, gathered=gathered, sync=environment.get("VALUE_MODEL_SYNC_LOG", "0") == "1")
    atexit.register(log.close)  # the last worker to end leaves everything in the one file

    def build(folder: Path, experiments: Path | None = None) -> RankingEngine:
        bundle = load_bundle(folder)
        store = redis_store(bundle, features, log=log) if features else None
        checkpoint = None if features else StoreCheckpoint(path, bundle=bundle.store_version)
        engine = build_engine(
            bundle,
            log=log,
            store=store,
            scorer=scorer_of(bundle),
            checkpoint=checkpoint,
            experiments=experiments,
            variants=build,
        )
        try_out(engine, users=bundle.catalogue.users["user_id"].slice(0, 2).to_pylist())
        return engine

    every, spans = _seconds(environment, "VALUE_MODEL_POLL_SECONDS", "0.5"), _tracing(environment)
    services = LiveService(
        pointer, build=partial(build, experiments=experiments), every=every, renew=renew, settle=settle
    )
    atexit.register(_leave, services)
    services.follow()  # loads the bundle now, so that the first request need not wait
    secret = environment.get("VALUE_MODEL_CONSOLE_SECRET") or secrets.token_hex(32)
    desk = environment.get("VALUE_MODEL_DESK")
    console = ConsoleSettings(secret, pointer.absolute().parent, Path(desk) if desk else None)
    policies = partial(PoliciesInForce, pointer.absolute().parent, material_of=material_of)
    app = create_app(
        services, probe=log.probe, keys=_keys(environment), policies=policies, console=console, tracing=spans
    )
    app.extensions["hand_over"] = partial(_hand_over, log)
    app.extensions["share"] = partial(_share, services)
    app.extensions["take_over"] = services.begin
    app.extensions["leave"] = partial(_end, services, log, spans)
    app.extensions["queue_seconds"] = _seconds(environment, "VALUE_MODEL_QUEUE_SECONDS", str(LONGEST))
    return app


def _log(path: Path, features: str | None, *, gathered: bool, sync: bool) -> SqliteLog:
    """The log of this machine; raises NotConfigured."""
    if not gathered:
        return SqliteLog(path, patience=LOG_WAIT, survive_power_loss=sync)
    if not features:
        raise NotConfigured("VALUE_MODEL_GATHERED is 1: set VALUE_MODEL_FEATURES, the Redis that the machines share.")
    return MachineLog(path, SharedSlates(features), patience=LOG_WAIT, survive_power_loss=sync)


def _scorers(environment: Mapping[str, str]) -> Callable[[ModelBundle], Scorer]:
    """What gives the scorer of a bundle; raises NotConfigured."""
    address = environment.get("VALUE_MODEL_TF_SERVING")
    if not address:
        return own_scorer
    if not re.fullmatch(r"[^\s:/]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", address):
        raise NotConfigured(f"VALUE_MODEL_TF_SERVING is {address!r}; give HOST:PORT, the gRPC port of a TF-Serving.")
    seconds = _seconds(environment, "VALUE_MODEL_TF_SERVING_SECONDS", str(SECONDS))
    from serving.prediction_service import PredictionService  # imports gRPC

    remote = PredictionService(address, model=MODEL)

    def scorer_of(bundle: ModelBundle) -> Scorer:
        own = own_scorer(bundle)
        return TfServingScorer(remote, own, seconds=seconds) if own.heads else own

    return scorer_of


def _leave(services: LiveService) -> None:
    """What a worker does last; a log or store that is gone by then was reported while it served."""
    with suppress(LogUnavailable, StoreUnavailable):
        services.close()


def _share(services: LiveService) -> None:
    """What a process does that loaded the application for its forks: once these would load it anew, it lets go."""
    timer = Timer(FRESH, services.forget)
    timer.daemon = True
    timer.start()


def _hand_over(log: SqliteLog) -> None:
    """What a process does before it forks: the forks keep what is learned, and each opens the log."""
    atexit.unregister(_leave)
    log.close()


def _end(services: LiveService, log: SqliteLog, spans: Tracing | None) -> None:
    """What a fork does last, of what is done at the exit of other processes."""
    _leave(services)
    log.close()
    if spans is not None:
        spans.flush()


def _tracing(environment: Mapping[str, str]) -> Tracing | None:
    try:
        return tracing(environment)
    except NoTracing as error:
        raise NotConfigured(str(error)) from error


def _keys(environment: Mapping[str, str]) -> Keys | None:
    """The API keys, None = none are configured; raises NotConfigured, so that a mistake does not open the service."""
    path, text = environment.get("VALUE_MODEL_KEYS_FILE"), environment.get("VALUE_MODEL_KEYS")
    if path and text:
        raise NotConfigured("VALUE_MODEL_KEYS_FILE and VALUE_MODEL_KEYS are both set; keep one of them.")
    try:
        if path:
            return KeyFile(Path(path))
        return KeyRing.from_toml(text, file="VALUE_MODEL_KEYS") if text else None
    except (DataError, OSError) as error:
        raise NotConfigured(f"the API keys cannot be read: {error}") from error


def _setting(environment: Mapping[str, str], name: str, meaning: str) -> str:
    if not environment.get(name):
        raise NotConfigured(f"set {name}: {meaning}. See docs/operations.md.")
    return environment[name]


def _seconds(environment: Mapping[str, str], name: str, default: str) -> float:
    try:
        seconds = float(environment.get(name, default))
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise NotConfigured(f"{name} is {environment[name]!r}; give a number of seconds.")
    return seconds
