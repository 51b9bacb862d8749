"""Gunicorn's settings: two processes of eight threads that share what was loaded before the fork.

Sharing is worth about 180 MB with MLflow loaded; without ``gc.freeze`` the collector's first
pass in each process would write into every shared page and undo it.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Any

bind = os.environ.get("GATEHOUSE_BIND", "127.0.0.1:8000")
workers = int(os.environ.get("GATEHOUSE_WEB_PROCESSES", "2"))
worker_class = "gthread"
threads = int(os.environ.get("GATEHOUSE_WEB_THREADS", "8"))
preload_app = True
# Uploads of models and long polls take their time.
timeout = 300
graceful_timeout = 8
keepalive = 15
# MLflow's clients put whole searches into the address.
limit_request_line = 0
control_socket_disable = True
if Path("/dev/shm").is_dir():  # noqa: S108 - gunicorn makes unlinked files there, nothing shared
    worker_tmp_dir = "/dev/shm"  # noqa: S108


def on_starting(server: Any) -> None:
    """Refuse to start on a database that is not prepared."""
    from controlplane.database import readiness

    try:
        readiness.require_roles()
    except readiness.DatabaseNotReady as error:
        server.log.error("%s", error)
        sys.exit(1)


def when_ready(server: Any) -> None:
    """Load what all processes need, then leave nothing behind that must not be shared."""
    from django.db import connections
    from django.urls import get_resolver

    from experiments.mlflow_api import mount

    mount.preload()
    # Reading the addresses imports every view, which would else happen in each process.
    get_resolver().url_patterns  # noqa: B018
    connections.close_all()
    gc.collect()
    gc.freeze()
