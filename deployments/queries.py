"""Reads of what serves: restricted to what the actor may see, joined, counted in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from controlplane.access import services as access
from controlplane.core.actor import Actor
from controlplane.core.errors import NotFound
from controlplane.stats.canary import ArmCounts
from deployments.models import Deployment, DeploymentRevision, Prediction, Rollout


@dataclass(frozen=True, slots=True)
class ArmFigures:
    """Requests of one arm: counts, error share (0–1) and latency percentiles in milliseconds."""

    arm: str
    requests: int
    errors: int
    failovers: int
    p50_ms: float
    p95_ms: float

    @property
    def error_share(self) -> float:
        return self.errors / self.requests if self.requests else 0.0


# A failover answers the caller well, but it is the candidate that failed.
_FIGURES = """
    SELECT arm,
           count(*),
           count(*) FILTER (WHERE status >= 500 OR assignment = 'failover'),
           count(*) FILTER (WHERE assignment = 'failover'),
           coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY total_us), 0) / 1000.0,
           coalesce(percentile_cont(0.95) WITHIN GROUP (ORDER BY total_us), 0) / 1000.0
    FROM deployments_prediction
    WHERE deployment_id = %s AND at >= %s AND (%s::timestamptz IS NULL OR at < %s)
      AND assignment <> 'forced'
    GROUP BY arm
"""


def figures(
    deployment_id: int, since: datetime, until: datetime | None = None
) -> dict[str, ArmFigures]:
    """Return the figures per arm of one deployment between two moments."""
    with connection.cursor() as cursor:
        cursor.execute(_FIGURES, [deployment_id, since, until, until])
        rows = cursor.fetchall()
    return {
        row[0]: ArmFigures(row[0], row[1], row[2], row[3], float(row[4]), float(row[5]))
        for row in rows
    }


def counts_of_step(rollout: Rollout) -> tuple[ArmCounts, ArmCounts]:
    """Return (candidate, stable) counts since the rollout's present step began.

    While no stable version exists the gateway calls the only arm stable; it is the candidate here.
    """
    found = figures(rollout.deployment_id, rollout.step_started_at)
    empty = ArmFigures("", 0, 0, 0, 0.0, 0.0)
    first, second = found.get("candidate", empty), found.get("stable", empty)
    if rollout.baseline_id is None:
        first, second = second, empty
    return ArmCounts(first.requests, first.errors), ArmCounts(second.requests, second.errors)


@dataclass(frozen=True, slots=True)
class Minute:
    """One point of a chart: the start of a bucket of time and the figures in it."""

    at: datetime
    arm: str
    requests: int
    error_share: float
    p95_ms: float


def timeline(deployment_id: int, since: datetime, *, bucket_seconds: int) -> list[Minute]:
    """Return requests, error share and p95 per arm and bucket of time, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT date_bin(make_interval(secs => %s), at, timestamptz '2020-01-01'), arm, count(*),
                   avg((status >= 500 OR assignment = 'failover')::int),
                   percentile_cont(0.95) WITHIN GROUP (ORDER BY total_us) / 1000.0
            FROM deployments_prediction
            WHERE deployment_id = %s AND at >= %s AND assignment <> 'forced'
            GROUP BY 1, 2 ORDER BY 1, 2
            """,
            [bucket_seconds, deployment_id, since],
        )
        rows = cursor.fetchall()
    return [Minute(row[0], row[1], row[2], float(row[3]), float(row[4])) for row in rows]


def deployments(actor: Actor) -> QuerySet[Deployment]:
    return access.visible(Deployment.objects.all(), actor).select_related(
        "model", "environment", "workspace"
    )


def rollouts(actor: Actor) -> QuerySet[Rollout]:
    return access.visible(Rollout.objects.all(), actor).select_related(
        "deployment__model",
        "deployment__environment",
        "version__model",
        "baseline__model",
        "promotion__requester",
    )


def rollout(rollout_id: int, actor: Actor) -> Rollout:
    """Return one visible rollout.

    Raises:
        NotFound: there is none for this actor.
    """
    found = rollouts(actor).filter(pk=rollout_id).first()
    if found is None:
        raise NotFound(f"There is no rollout {rollout_id}.")
    return found


def deployment(name: str, actor: Actor) -> Deployment:
    """Return one visible deployment by its name.

    Raises:
        NotFound: there is none for this actor.
    """
    found = deployments(actor).filter(name=name).first()
    if found is None:
        raise NotFound(f"There is no deployment {name!r}.")
    return found


def revisions(deployment: Deployment) -> QuerySet[DeploymentRevision]:
    return deployment.revisions.select_related("stable__model", "candidate__model", "promotion")


def predictions(deployment: Deployment) -> QuerySet[Prediction]:
    return Prediction.objects.filter(deployment_id=deployment.pk).order_by("-at", "-id")


def as_json(found: ArmFigures) -> dict[str, Any]:
    return {
        "arm": found.arm,
        "requests": found.requests,
        "errors": found.errors,
        "failovers": found.failovers,
        "error_share": round(found.error_share, 6),
        "p50_ms": round(found.p50_ms, 3),
        "p95_ms": round(found.p95_ms, 3),
    }
