"""The one message that the broker carries for the outbox."""

from __future__ import annotations

from celery import shared_task

from controlplane.outbox import services


@shared_task(name=services.DELIVER)
def deliver(message_id: str) -> None:
    """Run the task that the message promises."""
    services.deliver(message_id)
