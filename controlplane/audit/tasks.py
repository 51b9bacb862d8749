"""Background work of the ledger."""

from celery import shared_task

from controlplane.audit import verification
from controlplane.core.actor import Actor


@shared_task(name="audit.verify")
def verify() -> None:
    """Verify what is due; a second message in the same hour finds nothing to do."""
    verification.verify_when_due(actor=Actor.system("scheduler"))
