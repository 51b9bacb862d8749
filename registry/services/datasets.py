"""Datasets: their files are stored, profiled once, and sealed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from controlplane.access import services as access
from controlplane.accounts.models import Workspace
from controlplane.audit import services as audit
from controlplane.core import canonical_json, clock
from controlplane.core.actor import Actor
from controlplane.core.errors import Conflict, Invalid, NotFound
from controlplane.outbox import services as outbox
from controlplane.workflow import services as workflow
from registry import blobs, profiles
from registry.models import ArtifactBlob, Dataset, DatasetVersion
from registry.services.models import accountable_user
from registry.states import DATASET_VERSION

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_PATH = re.compile(r"[A-Za-z0-9._-]{1,200}\Z")


@dataclass(frozen=True, slots=True)
class UploadedFile:
    path: str
    blob: blobs.StoredBlob


def require_may_register(
    *, actor: Actor, workspace: Workspace, name: str, paths: Sequence[str]
) -> None:
    """Return when a version with files of these names could be registered; refusals are recorded.

    Doors ask this before they store what arrives, so that nothing is kept for nobody.
    """
    with workflow.refusals("dataset.register", actor=actor, obj=_named(workspace, name)):
        access.require(actor, "contribute", workspace)
        _require_names(name, paths)


def register_version(
    *,
    actor: Actor,
    workspace: Workspace,
    name: str,
    files: Sequence[UploadedFile],
    note: str = "",
    description: str = "",
) -> DatasetVersion:
    """The dataset has one more version, being profiled; it seals itself when that is done.

    The same files again give the version that holds them already.

    Raises:
        Invalid: the name, a path, or the number of files cannot be used.
    """
    target = _named(workspace, name)
    with workflow.refusals("dataset.register", actor=actor, obj=target), transaction.atomic():
        access.require(actor, "contribute", workspace)
        _require_names(name, [file.path for file in files])
        user = accountable_user(actor)
        Dataset.objects.get_or_create(
            workspace=workspace, name=name, defaults={"owner": user, "description": description}
        )
        dataset = workflow.lock(
            Dataset.objects.all(), what="dataset", workspace=workspace, name=name
        )
        digest = _digest(files)
        same = dataset.versions.filter(digest=digest).exclude(state="rejected").first()
        if same:
            return same
        version = DatasetVersion.objects.create(
            dataset=dataset,
            number=dataset.next_version,
            note=note,
            digest=digest,
            size_bytes=sum(file.blob.size for file in files),
            created_by=user,
        )
        dataset.next_version += 1
        dataset.save(update_fields=["next_version"])
        ArtifactBlob.objects.bulk_create(
            ArtifactBlob(
                workspace=workspace,
                owner_type=ArtifactBlob.OwnerType.DATASET_VERSION,
                owner_id=str(version.pk),
                path=file.path,
                size=file.blob.size,
                sha256=file.blob.sha256,
                actor_id=actor.id,
            )
            for file in files
        )
        audit.record(
            "dataset.register",
            actor=actor,
            obj=audit.ref(version),
            after={"files": len(files), "size": version.size_bytes},
            digests={"dataset": digest},
        )
        outbox.after_commit("registry.seal_dataset_version", version.pk)
    return version


def seal(version_id: int, *, actor: Actor) -> DatasetVersion:
    """The version is sealed with its rows, schema and profile, or rejected with the reason.

    Safe to run twice: a version that is no longer being registered stays as it is.
    """
    version = DatasetVersion.objects.select_related("dataset__workspace").get(pk=version_id)
    if version.state != DatasetVersion.State.REGISTERING:
        return version
    key = version.dataset.workspace.key
    try:
        profile = profiles.profile_files(
            [(blob.path, blobs.path(key, blob.sha256)) for blob in files_of(version)]
        )
    except profiles.ProfileError as error:
        with transaction.atomic():
            locked = _locked(version_id)
            return workflow.perform(
                DATASET_VERSION,
                locked,
                "reject",
                actor=actor,
                reason=str(error),
                changes={"note": str(error)},
            )
    with transaction.atomic():
        locked = _locked(version_id)
        if locked.state != DatasetVersion.State.REGISTERING:
            return locked
        return workflow.perform(
            DATASET_VERSION,
            locked,
            "seal",
            actor=actor,
            changes={
                "row_count": profile.rows,
                "schema": profile.schema_json(),
                "profile": profile.to_json(),
                "sealed_at": clock.now(),
            },
            facts={"rows": profile.rows},
            digests={"dataset": locked.digest},
        )


def get_version(reference: str, *, actor: Actor, workspace_id: int) -> DatasetVersion:
    """Return the version that ``name@number`` names; without a number the newest sealed one.

    Raises:
        NotFound: there is none that the actor may see. Invalid: the reference has another form.
    """
    name, _, number = reference.partition("@")
    if number and not number.isdigit():
        raise Invalid(f"{reference!r} is not of the form name@number.")
    versions = access.visible(
        DatasetVersion.objects.filter(dataset__workspace=workspace_id, dataset__name=name), actor
    ).select_related("dataset__workspace")
    version = (
        versions.filter(number=int(number)).first()
        if number
        else versions.filter(state=DatasetVersion.State.SEALED).first()
    )
    if version is None:
        raise NotFound(f"There is no dataset version {reference!r}.")
    return version


def require_sealed(version: DatasetVersion) -> DatasetVersion:
    """Return the version if it is sealed.

    Raises:
        Conflict: it is still being profiled, or was rejected.
    """
    if version.state != DatasetVersion.State.SEALED:
        raise Conflict(f"{version} is {version.state}; only a sealed dataset version can be used.")
    return version


def files_of(version: DatasetVersion) -> list[ArtifactBlob]:
    return list(
        ArtifactBlob.objects.filter(
            owner_type=ArtifactBlob.OwnerType.DATASET_VERSION, owner_id=str(version.pk)
        ).order_by("path")
    )


def _named(workspace: Workspace, name: str) -> audit.ObjectRef:
    return audit.ObjectRef("dataset", name[:100], name[:100], workspace.pk)


def _require_names(name: str, paths: Sequence[str]) -> None:
    if not _NAME.match(name):
        raise Invalid(
            f"{name!r} cannot name a dataset: use letters, digits, dot, hyphen and underscore.",
            fields={"name": ["Use letters, digits, dot, hyphen and underscore."]},
        )
    if not paths:
        raise Invalid(
            "Send at least one file in the field “file”.",
            fields={"file": ["Send at least one file."]},
        )
    for path in paths:
        if not _PATH.match(path) or path in {".", ".."}:
            raise Invalid(
                f"{path!r} cannot name a file: use letters, digits, dot, hyphen, underscore."
            )
    if len(set(paths)) != len(paths):
        raise Invalid("Two of the files have the same name.")


def _digest(files: Sequence[UploadedFile]) -> str:
    listing = [
        {"path": file.path, "size": file.blob.size, "sha256": file.blob.sha256}
        for file in sorted(files, key=lambda file: file.path)
    ]
    return canonical_json.digest(listing)


def _locked(version_id: int) -> DatasetVersion:
    return workflow.lock(
        DatasetVersion.objects.select_related("dataset"), what="dataset version", pk=version_id
    )
