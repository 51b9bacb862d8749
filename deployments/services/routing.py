"""Publish what nodes must know, in the transaction that changed it."""

from __future__ import annotations

import json
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import Max, Q

from controlplane.accounts.models import ApiToken
from controlplane.core import clock
from deployments import snapshot
from deployments.models import (
    ArmStatus,
    Deployment,
    DeploymentRevision,
    GatewayAck,
    NodeHeartbeat,
    Rollout,
    RoutingSnapshot,
)
from deployments.services import revisions
from deployments.states import ACTIVE_ROLLOUT_STATES
from registry.models import ModelVersion

CHANNEL = "gatehouse_routing"
_LOCK = 7_204_001
ALIVE_SECONDS = 15
WARM_HOURS = 24


@transaction.atomic
def publish() -> RoutingSnapshot:
    """Nodes are told what to serve now; they hear of it when the transaction commits."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    newest = newest_snapshot()
    epoch = newest.epoch if newest else 1
    revision = newest.revision + 1 if newest else 1
    body = snapshot.dumps(_build(epoch, revision))
    row = RoutingSnapshot.objects.create(
        epoch=epoch, revision=revision, body=body, sha256=snapshot.digest(body)
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, f"{epoch}.{revision}"])
    return row


def publish_if_changed() -> RoutingSnapshot | None:
    """Publish when tokens or versions to keep warm have changed since the newest snapshot."""
    newest = newest_snapshot()
    if newest is None:
        return publish()
    now = snapshot.dumps(_build(newest.epoch, newest.revision))
    return publish() if now != newest.body else None


def newest_snapshot() -> RoutingSnapshot | None:
    return RoutingSnapshot.objects.order_by("-epoch", "-revision").first()


def worker_key(version: ModelVersion) -> str:
    """Return the name of the version's model process, the same on every node."""
    return f"v{version.pk}-{version.manifest_sha256[:12]}"


def worker_state(version: ModelVersion) -> tuple[str, str]:
    """Return (state, detail) of the version's worker as its nodes last reported it.

    The worst report of the nodes counts; ``("unknown", …)`` when no node has spoken.
    """
    newest = (
        ArmStatus.objects.filter(worker_key=worker_key(version))
        .order_by("node", "-id")
        .distinct("node")
    )
    order = {"failed": 0, "degraded": 1, "loading": 2, "ready": 3}
    reports = sorted(newest, key=lambda report: order.get(report.state, 0))
    if not reports:
        return "unknown", "No node has taken it up yet."
    return reports[0].state, reports[0].detail


def gateways() -> dict[str, int]:
    """Return the gateways that are alive, each with the newest revision it has acknowledged."""
    since = clock.now() - timedelta(seconds=ALIVE_SECONDS)
    alive = set(
        NodeHeartbeat.objects.filter(at__gte=since, process__startswith="gateway")
        .values_list("process", flat=True)
        .distinct()
    )
    acks = dict(
        GatewayAck.objects.filter(gateway__in=alive)
        .values_list("gateway")
        .annotate(newest=Max("revision"))
    )
    return {name: acks.get(name, 0) for name in sorted(alive)}


def acknowledged_everywhere(revision: int) -> bool:
    """Say whether every living gateway routes by this snapshot or a newer one."""
    living = gateways()
    return bool(living) and all(seen >= revision for seen in living.values())


def _build(epoch: int, revision: int) -> snapshot.Snapshot:
    current = (
        DeploymentRevision.objects.filter(valid_to=None)
        .exclude(deployment__state=Deployment.State.RETIRED)
        .select_related(
            "deployment__workspace",
            "deployment__model",
            "stable__model__workspace",
            "candidate__model__workspace",
        )
        .order_by("deployment_id")
    )
    workers: dict[str, snapshot.WorkerSpec] = {}
    deployments = []
    for item in current:
        for version in (item.stable, item.candidate):
            if version:
                workers.setdefault(worker_key(version), _worker(version))
        deployments.append(_deployment(item))
    for version in _to_keep_warm():
        workers.setdefault(worker_key(version), _worker(version))
    return snapshot.Snapshot(
        epoch=epoch,
        revision=revision,
        deployments=tuple(deployments),
        workers=tuple(workers[key] for key in sorted(workers)),
        tokens=_tokens(),
    )


def _deployment(revision: DeploymentRevision) -> snapshot.Deployment:
    deployment = revision.deployment
    shown = revision.stable or revision.candidate
    arms = []
    if revision.stable and revision.candidate:
        arms = [
            _arm("stable", revision.stable, 10_000 - revision.candidate_basis_points),
            _arm("candidate", revision.candidate, revision.candidate_basis_points),
        ]
    elif shown:
        arms = [_arm("stable", shown, 10_000)]
    return snapshot.Deployment(
        name=deployment.name,
        id=deployment.pk,
        workspace_id=deployment.workspace_id,
        workspace=deployment.workspace.key,
        revision_id=revision.pk,
        revision=revision.number,
        salt=revision.salt,
        arms=tuple(arms),
        owners=tuple((int(arm), int(count)) for arm, count in revision.owners) if arms else (),
        signature=signature_of(shown) if shown else snapshot.Signature(),
        unit_required=deployment.unit_required,
        deadline_ms=deployment.deadline_ms,
    )


def _arm(name: str, version: ModelVersion, share: int) -> snapshot.Arm:
    return snapshot.Arm(
        arm=name,
        version_id=version.pk,
        version=version.number,
        model=version.model.name,
        worker_key=worker_key(version),
        share_basis_points=share,
    )


def signature_of(version: ModelVersion) -> snapshot.Signature:
    """Return the version's declared inputs and outputs as the gateway checks them."""
    return snapshot.Signature.from_mlflow(
        _listing(version.signature.get("inputs")), _listing(version.signature.get("outputs"))
    )


def _listing(value: object) -> list[dict[str, object]]:
    """MLmodel keeps each side of a signature as JSON text."""
    parsed = json.loads(value) if isinstance(value, str) else value
    return list(parsed) if isinstance(parsed, list) else []


def _worker(version: ModelVersion) -> snapshot.WorkerSpec:
    blobs = [snapshot.Blob(item["path"], item["size"], item["sha256"]) for item in version.manifest]
    return snapshot.WorkerSpec(
        key=worker_key(version),
        version_id=version.pk,
        model=version.model.name,
        version=version.number,
        blobs=tuple(blobs),
        blob_root=version.model.workspace.key,
        flavour="sklearn" if "sklearn" in version.flavours else "pyfunc",
        environment=version.lock_sha256,
        load="native" if "sklearn" in version.flavours else "pyfunc",
    )


def _to_keep_warm() -> list[ModelVersion]:
    """Return versions that must be loaded though no revision names them.

    These are candidates in preparation and each deployment's way back: the stable version that a
    rollback would return to, so that a rollback never prepares anything.
    """
    versions = [
        rollout.version
        for rollout in Rollout.objects.filter(state__in=ACTIVE_ROLLOUT_STATES)
        .exclude(state__in=["rolling_back", "rollback_failed"])
        .select_related("version__model__workspace")
    ]
    since = clock.now() - timedelta(hours=WARM_HOURS)
    recent = DeploymentRevision.objects.filter(
        Q(valid_to=None) | Q(valid_to__gte=since), stable__isnull=False
    ).select_related("deployment__model", "deployment__environment")
    for deployment in {item.deployment_id: item.deployment for item in recent}.values():
        now = revisions.current(deployment)
        versions += revisions.rollback_set(deployment, now.stable if now else None)[:1]
    kept = ModelVersion.objects.filter(
        pk__in=[version.pk for version in versions], state=ModelVersion.State.SEALED
    )
    return list(kept.select_related("model__workspace"))


def _tokens() -> tuple[snapshot.TokenGrant, ...]:
    tokens = ApiToken.objects.filter(
        kind=ApiToken.Kind.PREDICT,
        revoked_at=None,
        expires_at__gt=clock.now(),
        user__is_active=True,
    ).order_by("id")
    return tuple(
        snapshot.TokenGrant(
            sha256=token.sha256,
            token_id=str(token.pk),
            deployments=tuple(token.deployments or ["*"]),
            workspace_id=token.workspace_id,
            scopes=tuple(token.scopes or ["predict"]),
            expires_at=token.expires_at.isoformat(),
        )
        for token in tokens
    )
