"""The task queue: messages are hints, PostgreSQL decides (see controlplane.outbox and jobs)."""

from __future__ import annotations

import os
import sys
from typing import Any

from celery import Celery
from celery.signals import worker_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.base")
# Django's checks walk every address, and so load every page and MLflow into each worker.
os.environ.setdefault("CELERY_SKIP_CHECKS", "true")

app = Celery("gatehouse")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
# For every thread: "current" is kept per thread, and web servers and job slots have many.
app.set_default()


@worker_init.connect
def _refuse_an_unprepared_database(**_: Any) -> None:
    from controlplane.database import readiness

    try:
        readiness.require_roles()
    except readiness.DatabaseNotReady as error:
        sys.exit(str(error))
