"""Files of runs, logged models and traces: kept by content, found by owner and path."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet, Sum

from controlplane.access import services as access
from controlplane.accounts.models import Workspace
from controlplane.audit import services as audit
from controlplane.core.actor import Actor
from controlplane.core.errors import Invalid, NotFound, TooLarge
from controlplane.workflow import services as workflow
from experiments import queries
from experiments.services import sealing
from experiments.services.sources import Folder, clean_path
from registry import blobs
from registry.models import ArtifactBlob, ModelVersion, VersionUse

# What must stay free on the disk, so that the ledger and the database can go on writing.
RESERVED_SPACE_BYTES = 512 * 2**20


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder of a listing; ``path`` is relative to the owner's root."""

    path: str
    is_folder: bool
    size_bytes: int | None


def require_owner(folder: Folder, *, actor: Actor, workspace: Workspace, verb: str) -> None:
    """Return when the owner exists in this workspace and the actor may do ``verb`` there.

    Raises:
        NotFound: no such owner, or not one the actor may see. NotPermitted: seen, but no more.
    """
    access.require(actor, verb, workspace)
    experiment = queries.experiment_of(folder.owner_type, folder.owner_id, workspace=workspace.key)
    if experiment is None or folder.experiment_id not in {None, experiment}:
        raise NotFound(f"There is no {folder.owner_type.replace('_', ' ')} {folder.owner_id}.")


def put(
    folder: Folder,
    chunks: Iterable[bytes],
    *,
    actor: Actor,
    workspace: Workspace,
    announced_bytes: int | None,
    limit_bytes: int | None = None,
) -> ArtifactBlob:
    """The owner has this file under ``folder.path``; an older one of the same path is replaced.

    Raises:
        NotFound: no such owner. NotPermitted: no ``contribute``, or the file is sealed.
        TooLarge: beyond the limit of a file, of the owner, or of the disk.
        Invalid: the path is not usable, or fewer bytes arrived than were announced.
    """
    target = _ref(folder, workspace)
    limit = limit_bytes or settings.ARTIFACT_FILE_LIMIT_BYTES
    with workflow.refusals("artifact.upload", actor=actor, obj=target):
        require_owner(folder, actor=actor, workspace=workspace, verb="contribute")
        path = clean_path(folder.path)
        sealing.refuse_file(workspace, folder.owner_type, folder.owner_id, path)
        _require_room(folder, announced_bytes, limit)
        stored = blobs.put(
            workspace.key, chunks, limit_bytes=limit, announced_bytes=announced_bytes
        )
    with workflow.refusals("artifact.upload", actor=actor, obj=target), transaction.atomic():
        # The upload took its time: a version may have been registered in the meantime.
        sealing.refuse_file(workspace, folder.owner_type, folder.owner_id, path)
        _refuse_shadowing(folder, path)
        blob, _ = ArtifactBlob.objects.update_or_create(
            owner_type=folder.owner_type,
            owner_id=folder.owner_id,
            path=path,
            defaults={
                "workspace": workspace,
                "size": stored.size,
                "sha256": stored.sha256,
                "actor_id": actor.id,
            },
        )
        audit.record(
            "artifact.upload",
            actor=actor,
            obj=target,
            after={"path": path, "size": stored.size},
            digests={"file": stored.sha256},
        )
    return blob


def delete(folder: Folder, *, actor: Actor, workspace: Workspace) -> int:
    """The file, or every file of the folder, is no longer listed; return how many there were.

    The bytes stay until nothing refers to them.

    Raises:
        NotFound: there is none. NotPermitted: no ``contribute``, or one of them is sealed.
    """
    target = _ref(folder, workspace)
    with workflow.refusals("artifact.delete", actor=actor, obj=target), transaction.atomic():
        require_owner(folder, actor=actor, workspace=workspace, verb="contribute")
        found = list(_under(folder).select_for_update())
        if not found:
            raise NotFound(f"There is no artifact {folder.path!r}.")
        for blob in found:
            sealing.refuse_file(workspace, folder.owner_type, folder.owner_id, blob.path)
        ArtifactBlob.objects.filter(pk__in=[blob.pk for blob in found]).delete()
        audit.record(
            "artifact.delete",
            actor=actor,
            obj=target,
            before={"path": folder.path, "files": len(found)},
        )
    return len(found)


def find(folder: Folder, *, actor: Actor, workspace: Workspace) -> ArtifactBlob:
    """Return one file that the actor may fetch; fetching what is live in production is an event.

    Raises:
        NotFound: no such file, or not one the actor may see.
    """
    require_owner(folder, actor=actor, workspace=workspace, verb="view")
    blob = ArtifactBlob.objects.filter(
        owner_type=folder.owner_type, owner_id=folder.owner_id, path=folder.path
    ).first()
    if blob is None:
        raise NotFound(f"No such artifact: {folder.path!r}")
    if version := _live_in_production(folder, workspace):
        audit.record(
            "artifact.download",
            actor=actor,
            obj=audit.ref(version),
            after={"path": blob.path},
            digests={"file": blob.sha256},
        )
    return blob


def listing(folder: Folder, *, actor: Actor, workspace: Workspace) -> list[Entry]:
    """Return files and folders directly below ``folder.path``; a file has nothing below it.

    Raises:
        NotFound: no such owner, or not one the actor may see.
    """
    require_owner(folder, actor=actor, workspace=workspace, verb="view")
    start = f"{folder.path}/" if folder.path else ""
    entries: dict[str, Entry] = {}
    for path, size in _under(folder).order_by("path").values_list("path", "size"):
        if not path.startswith(start):
            continue
        name, separator, _ = path.removeprefix(start).partition("/")
        inner = f"{start}{name}"
        entries[inner] = Entry(inner, bool(separator), None if separator else size)
    return list(entries.values())


def _under(folder: Folder) -> QuerySet[ArtifactBlob]:
    found = ArtifactBlob.objects.filter(owner_type=folder.owner_type, owner_id=folder.owner_id)
    if folder.path:
        found = found.filter(Q(path=folder.path) | Q(path__startswith=f"{folder.path}/"))
    return found


def _refuse_shadowing(folder: Folder, path: str) -> None:
    """A path is a file or a folder, never both: no file system could hold the download."""
    parts = path.split("/")
    parents = ["/".join(parts[:count]) for count in range(1, len(parts))]
    owned = ArtifactBlob.objects.filter(owner_type=folder.owner_type, owner_id=folder.owner_id)
    if owned.filter(Q(path__in=parents) | Q(path__startswith=f"{path}/")).exists():
        raise Invalid(f"{path!r} cannot be a file: a file and a folder would have the same name.")


def _require_room(folder: Folder, announced_bytes: int | None, limit: int) -> None:
    size = announced_bytes or 0
    if size > limit:
        raise TooLarge(f"The file has {size:,} bytes; a file may have {limit:,}.")
    stored = ArtifactBlob.objects.filter(
        owner_type=folder.owner_type, owner_id=folder.owner_id
    ).aggregate(total=Sum("size"))["total"]
    owner_limit = settings.ARTIFACT_OWNER_LIMIT_BYTES
    if (stored or 0) + size > owner_limit:
        raise TooLarge(
            f"The files of this {folder.owner_type.replace('_', ' ')} would exceed "
            f"{owner_limit:,} bytes."
        )
    root = Path(settings.BLOB_DIR)
    root.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(root).free - size < RESERVED_SPACE_BYTES:
        raise TooLarge("The server has too little space left for this file.")


def _live_in_production(folder: Folder, workspace: Workspace) -> ModelVersion | None:
    holding = sealing.versions_holding(workspace, folder.owner_type, folder.owner_id, folder.path)
    uses = VersionUse.objects.filter(
        version__in=[item.pk for item in holding],
        use=VersionUse.Use.LIVE,
        ended_at=None,
        environment__kind="prod",
    ).select_related("version__model")
    use = uses.first() if holding else None
    return use.version if use else None


def _ref(folder: Folder, workspace: Workspace) -> audit.ObjectRef:
    return audit.ObjectRef(folder.owner_type, folder.owner_id, folder.owner_id, workspace.pk)
