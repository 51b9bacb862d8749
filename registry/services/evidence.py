"""Evidence about versions, and the registry's picture of where they are in use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import transaction

from controlplane.audit import services as audit
from controlplane.core import canonical_json, clock
from controlplane.core.actor import Actor
from controlplane.core.errors import Blocked
from controlplane.outbox import services as outbox
from registry.models import DatasetVersion, Environment, Evidence, ModelVersion, VersionUse


@transaction.atomic
def attach(
    version_id: int,
    *,
    actor: Actor,
    body: Mapping[str, Any],
    dataset_version: DatasetVersion | None,
    baseline: ModelVersion | None,
    job_id: UUID | None,
    suite: str = "holdout",
) -> Evidence:
    """The version has one more piece of sealed evidence; once per job, however often it is asked.

    Raises:
        Blocked: the version is not sealed, so the evidence would have no fixed subject.
    """
    version = (
        ModelVersion.objects.select_for_update(of=("self",))
        .select_related("model__workspace")
        .get(pk=version_id)
    )
    if version.state != ModelVersion.State.SEALED:
        raise Blocked(f"{version} is {version.state}; evidence is kept for sealed versions only.")
    if job_id is not None:
        existing = Evidence.objects.filter(job_id=job_id).first()
        if existing:
            return existing
    digest = canonical_json.digest(
        {
            "body": body,
            "manifest": version.manifest_sha256,
            "dataset": dataset_version.digest if dataset_version else None,
            "baseline": baseline.manifest_sha256 if baseline else None,
        }
    )
    evidence = Evidence.objects.create(
        version=version,
        suite=suite,
        dataset_version=dataset_version,
        baseline=baseline,
        manifest_sha256=version.manifest_sha256,
        body=dict(body),
        digest=digest,
        job_id=job_id,
    )
    audit.record(
        "evidence.attach",
        actor=actor,
        obj=audit.ref(version),
        after={"suite": suite, "evidence": digest},
        digests={"evidence": digest, "manifest": version.manifest_sha256},
        cause="system",
    )
    outbox.after_commit("registry.recheck_promotions", version.pk, queue="promotion")
    return evidence


def newest(version: ModelVersion) -> Evidence | None:
    return (
        version.evidence.filter(kind="evaluation", attested_by_client=False)
        .select_related("dataset_version__dataset", "baseline__model")
        .first()
    )


def live_version(model_id: int, environment: Environment) -> ModelVersion | None:
    """Return the stable version that users reach in the environment, or None."""
    use = (
        VersionUse.objects.filter(
            model=model_id, environment=environment, use=VersionUse.Use.LIVE, ended_at=None
        )
        .select_related("version__model")
        .first()
    )
    return use.version if use else None


@transaction.atomic
def set_in_use(
    model_id: int,
    environment: Environment,
    *,
    live: ModelVersion | None,
    rollback_set: list[ModelVersion],
    actor: Actor,
) -> None:
    """The registry knows which version is live and to which ones a rollback may go.

    Guarded aliases follow from this. Deployments calls it in the transaction of its revision.
    """
    now = clock.now()
    wanted = {(item.pk, VersionUse.Use.ROLLBACK_SET.value) for item in rollback_set}
    if live:
        wanted.add((live.pk, VersionUse.Use.LIVE.value))
    present = VersionUse.objects.select_for_update().filter(
        model=model_id, environment=environment, ended_at=None
    )
    kept = set()
    for use in present:
        if (use.version_id, use.use) in wanted:
            kept.add((use.version_id, use.use))
        else:
            use.ended_at = now
            use.save(update_fields=["ended_at"])
    for version_id, kind in sorted(wanted - kept):
        VersionUse.objects.create(
            model_id=model_id, version_id=version_id, environment=environment, use=kind, since=now
        )
        if kind == VersionUse.Use.LIVE:
            audit.record(
                "alias.follow",
                actor=actor,
                obj=audit.ref(environment),
                after={"alias": environment.guarded_alias, "version": version_id},
                cause="system",
            )
