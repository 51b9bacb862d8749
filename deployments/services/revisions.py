"""Append to the history of a deployment: what it runs from now on."""

from __future__ import annotations

from controlplane.audit import services as audit
from controlplane.core import clock
from controlplane.core.actor import Actor
from controlplane.core.errors import Conflict
from deployments import assignment
from deployments.models import Deployment, DeploymentRevision
from registry.models import ModelVersion, PromotionRequest
from registry.services import evidence

ROLLBACK_SET_SIZE = 5


def current(deployment: Deployment) -> DeploymentRevision | None:
    return (
        deployment.revisions.filter(valid_to=None)
        .select_related("stable__model", "candidate__model")
        .first()
    )


def append(
    deployment: Deployment,
    *,
    stable: ModelVersion | None,
    candidate: ModelVersion | None = None,
    candidate_basis_points: int = 0,
    salt: str,
    cause: str,
    actor: Actor,
    promotion: PromotionRequest | None = None,
    reason: str = "",
    expected: int | None = None,
) -> DeploymentRevision:
    """The deployment runs this from now on, and the revision before it has ended.

    The caller holds the deployment's lock. ``expected`` is the number the caller believes to be
    current; another one is a conflict.

    Raises:
        Conflict: somebody else changed the deployment first.
    """
    previous = current(deployment)
    number = previous.number if previous else 0
    if expected is not None and expected != number:
        raise Conflict(
            f"{deployment} is at revision {number}, not {expected}: somebody was faster. "
            "Look again."
        )
    now = clock.now()
    if previous:
        previous.valid_to = now
        previous.save(update_fields=["valid_to"])
    revision = DeploymentRevision.objects.create(
        deployment=deployment,
        number=number + 1,
        stable=stable,
        candidate=candidate,
        candidate_basis_points=candidate_basis_points,
        owners=_owners(previous, salt, candidate_basis_points, has_stable=stable is not None),
        salt=salt,
        promotion=promotion,
        cause=cause,
        reason=reason,
        actor_id=actor.id,
        valid_from=now,
    )
    audit.record(
        "deployment.revise",
        actor=actor,
        obj=audit.ref(deployment),
        before={"revision": number},
        after={
            "revision": revision.number,
            "stable": stable.number if stable else None,
            "candidate": candidate.number if candidate else None,
            "share_basis_points": candidate_basis_points,
        },
        reason=reason,
        cause=cause if cause in {"monitor", "schedule"} else "system",
    )
    return revision


def note_routing(revision: DeploymentRevision, routing_revision: int) -> None:
    """Remember the routing table that carries the revision: gateways acknowledge by its number."""
    DeploymentRevision.objects.filter(pk=revision.pk).update(routing_revision=routing_revision)


def settle(deployment: Deployment, live: ModelVersion | None, *, actor: Actor) -> None:
    """Tell the registry what is live and where a rollback may go."""
    evidence.set_in_use(
        deployment.model_id,
        deployment.environment,
        live=live,
        rollback_set=rollback_set(deployment, live),
        actor=actor,
    )


def rollback_set(deployment: Deployment, live: ModelVersion | None) -> list[ModelVersion]:
    """Return the versions that were stable here before, newest first, sealed, at most five."""
    seen: list[ModelVersion] = []
    revisions = deployment.revisions.filter(stable__isnull=False).select_related("stable__model")
    for revision in revisions.order_by("-number"):
        version = revision.stable
        if version is None or version == live or version in seen:
            continue
        if version.state == ModelVersion.State.SEALED:
            seen.append(version)
        if len(seen) == ROLLBACK_SET_SIZE:
            break
    return seen


def _owners(
    previous: DeploymentRevision | None, salt: str, basis_points: int, *, has_stable: bool
) -> list[list[int]]:
    if not has_stable:
        return assignment.compress(assignment.all_stable())
    # A new salt is a new lottery: only revisions of one rollout continue one table.
    table = (
        assignment.expand(previous.owners)
        if previous and previous.salt == salt and previous.owners
        else assignment.all_stable()
    )
    return assignment.compress(assignment.grow(table, [10_000 - basis_points, basis_points]))
