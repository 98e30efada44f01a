"""Settings of gunicorn for the service: `gunicorn -c python:serving.gunicorn_settings 'serving.wsgi:create()'`.

Nothing that a peer sends of the path or the scheme is believed (SCRIPT_NAME, PATH_INFO, X-Forwarded-Proto): the
service needs none of it behind a gateway. What its workers counted stays when one of them dies.

With VALUE_MODEL_SHARE_MEMORY=1 the parent process loads the bundle, and its first workers are forks of it, which share
that memory until they write to it; then it lets go of its own share. Not where a TF-Serving scores: gRPC does not
outlive a fork.
"""

from __future__ import annotations

import gc
import logging
import os
import secrets
from typing import Any

from serving.worker_metrics import fold_ended_worker

forwarded_allow_ips = ""
forwarder_headers = ""
worker_class = "serving.worker.SlotWorker"
worker_connections = 4000  # of a worker; beyond, the one that was idle for longest is closed
keepalive = 30  # seconds that a connection may be idle
graceful_timeout = 30  # seconds that a request which has begun may still take after a signal to end
control_socket_disable = True
preload_app = os.environ.get("VALUE_MODEL_SHARE_MEMORY") == "1" and not os.environ.get("VALUE_MODEL_TF_SERVING")
if preload_app:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads do not outlive a fork
# One secret for all workers, so that whoever signed in at one of them is known to the others; a new one a start.
raw_env = [] if "VALUE_MODEL_CONSOLE_SECRET" in os.environ else [f"VALUE_MODEL_CONSOLE_SECRET={secrets.token_hex(32)}"]


def when_ready(server: Any) -> None:
    """Called by gunicorn's parent process before the first worker."""
    _moment(server, "share")


def pre_fork(server: Any, worker: Any) -> None:
    """Called by gunicorn's parent process before each fork."""
    if preload_app:
        _moment(server, "hand_over")
        gc.collect()
        gc.freeze()  # or the collector would write to what is shared


def post_fork(server: Any, worker: Any) -> None:
    """Called in each new worker."""
    _moment(server, "take_over")


def worker_exit(server: Any, worker: Any) -> None:
    """Called in each worker at its end: a fork leaves without destroying what waits for threads that stayed behind."""
    if preload_app and worker.booted:
        _moment(server, "leave")
        logging.shutdown()
        os._exit(0)


def child_exit(server: Any, worker: Any) -> None:
    """Called by gunicorn's parent process when a worker has ended, however it did."""
    fold_ended_worker(worker.pid)


def _moment(server: Any, name: str) -> None:
    """Call what a loaded application does at this moment (`serving.wsgi`)."""
    extensions = getattr(server.app.callable, "extensions", {})
    extensions.get(name, lambda: None)()
