"""The hint that a job waits, and the worker's beginning and end."""

from __future__ import annotations

from typing import Any

from celery import shared_task
from celery.signals import worker_ready, worker_shutting_down

from controlplane.jobs import services, worker


@shared_task(name=services.RUN_NEXT)
def run_next(queue: str) -> None:
    """Start on the best waiting job, if a slot of this worker is free."""
    worker.this_process().take()


@worker_ready.connect
def _begin(sender: Any, **_: Any) -> None:
    own = worker.this_process()
    own.name = str(sender.hostname)
    own.serve(set(sender.app.amqp.queues.consume_from))
    for _slot in range(own.slots):
        own.take()


@worker_shutting_down.connect
def _leave(**_: Any) -> None:
    worker.this_process().leave()
