"""Letters with an address: ids in, one service call, safe to deliver twice."""

from __future__ import annotations

from celery import shared_task

from controlplane.core.actor import Actor
from registry.services import datasets, promotions


@shared_task(name="registry.seal_dataset_version")
def seal_dataset_version(version_id: int) -> None:
    """Profile and seal a dataset version."""
    datasets.seal(version_id, actor=Actor.system("profiler"))


@shared_task(name="registry.check_promotion")
def check_promotion(promotion_id: int) -> None:
    """Compute every gate of a promotion."""
    promotions.check(promotion_id, actor=Actor.system("gatekeeper"))


@shared_task(name="registry.recheck_promotions")
def recheck_promotions(version_id: int) -> None:
    """Check open promotions again after new evidence."""
    promotions.recheck_open(version_id, actor=Actor.system("gatekeeper"))


@shared_task(name="registry.execute_promotion")
def execute_promotion(promotion_id: int) -> None:
    """Start the rollout of an approved promotion."""
    promotions.execute(promotion_id, actor=Actor.system("gatekeeper"))
