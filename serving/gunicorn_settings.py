"""Settings of gunicorn for the service: `gunicorn -c python:serving.gunicorn_settings 'serving.wsgi:create()'`.

Nothing that a peer sends of the path or the scheme is believed (SCRIPT_NAME, PATH_INFO, X-Forwarded-Proto): the
service needs none of it behind a gateway. What its workers counted stays when one of them dies.
"""

from __future__ import annotations

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
# One secret for all workers, so that whoever signed in at one of them is known to the others; a new one a start.
raw_env = [] if "VALUE_MODEL_CONSOLE_SECRET" in os.environ else [f"VALUE_MODEL_CONSOLE_SECRET={secrets.token_hex(32)}"]


def child_exit(server: Any, worker: Any) -> None:
    """Called by gunicorn's parent process when a worker has ended, however it did."""
    fold_ended_worker(worker.pid)
