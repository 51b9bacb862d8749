"""How much is open: the numbers in the sidebar, one small query each."""

from __future__ import annotations

from controlplane.access import services as access
from controlplane.core.actor import Actor
from controlplane.jobs.models import Job
from deployments.models import Rollout
from deployments.states import ACTIVE_ROLLOUT_STATES
from registry.models import PromotionRequest

WAITING_JOBS = ("queued",)


def open_for(actor: Actor) -> dict[str, int]:
    """Return reviews that wait for somebody, rollouts under way and jobs that have not begun."""
    return {
        "reviews": access.visible(
            PromotionRequest.objects.filter(state=PromotionRequest.State.IN_REVIEW), actor
        ).count(),
        "rollouts": access.visible(
            Rollout.objects.filter(state__in=ACTIVE_ROLLOUT_STATES), actor
        ).count(),
        "jobs": access.visible(Job.objects.filter(state__in=WAITING_JOBS), actor).count(),
    }
