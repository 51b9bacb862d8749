"""What serves now, with the requests of the last hour; two queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Aggregate, Count, FloatField, Q

from controlplane.access import services as access
from controlplane.core import clock
from controlplane.core.actor import Actor
from deployments.models import Deployment, DeploymentRevision, Prediction
from frontend import words

WINDOW = timedelta(hours=1)


class Percentile95(Aggregate):
    """The 95th percentile of a column, interpolated."""

    template = "percentile_cont(0.95) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = FloatField()


@dataclass(frozen=True)
class Serving:
    model_name: str
    environment: str
    versions: str
    requests: str
    errors: str
    latency: str
    state: str


def now_serving(actor: Actor, *, limit: int = 20) -> list[Serving]:
    """Return the live deployments that the reader may see."""
    live = access.visible(Deployment.objects.filter(state=Deployment.State.LIVE), actor)
    revisions = list(
        DeploymentRevision.objects.filter(deployment__in=live, valid_to=None)
        .select_related("deployment__model", "deployment__environment", "stable", "candidate")
        .order_by("-deployment__environment__order", "deployment__name")[:limit]
    )
    figures = {
        row["deployment_id"]: row
        for row in Prediction.objects.filter(
            deployment_id__in=[item.deployment_id for item in revisions],
            at__gte=clock.now() - WINDOW,
        )
        .values("deployment_id")
        .order_by()
        .annotate(
            requests=Count("pk"),
            errors=Count("pk", filter=Q(status__gte=500) | Q(assignment="failover")),
            p95=Percentile95("total_us"),
        )
    }
    return [_row(item, figures.get(item.deployment_id)) for item in revisions]


def _row(revision: DeploymentRevision, found: Mapping[str, Any] | None) -> Serving:
    parts = [words.version_words(item) for item in (revision.stable, revision.candidate) if item]
    requests = int(found["requests"]) if found else 0
    share = 100 * found["errors"] / requests if found and requests else 0.0
    return Serving(
        model_name=revision.deployment.model.name,
        environment=revision.deployment.environment.name,
        versions=" + ".join(parts) or "none",
        requests=f"{requests:,}" if requests else "none",
        errors=words.number(share, digits=2, unit="%") if requests else "–",
        latency=words.number(found["p95"] / 1000, digits=1, unit="ms") if found else "–",
        state=revision.deployment.state,
    )
