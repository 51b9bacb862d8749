"""From a logged model to a sealed version: which files, what signature, where it all came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from django.db import transaction

from controlplane.accounts.models import Workspace
from controlplane.core.actor import Actor
from controlplane.core.errors import Invalid
from experiments import queries
from experiments.services import artifacts, runs, sources, training
from experiments.services.sealing import CREATOR_TAG
from registry import blobs
from registry.models import Model, ModelVersion
from registry.services import models as registry_models
from registry.services.models import VersionFile

_COMMIT_TAG = "mlflow.source.git.commit"
_LARGEST_MLMODEL_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Description:
    """What a model's own ``MLmodel`` file says about it."""

    signature: Mapping[str, Any] = field(default_factory=dict)
    flavours: tuple[str, ...] = ()


def register(
    model: Model,
    *,
    actor: Actor,
    workspace: Workspace,
    source: str,
    run_id: str = "",
    logged_model_id: str = "",
    description: str = "",
    tags: Mapping[str, str] | None = None,
) -> ModelVersion:
    """The model has one more sealed version: the files below ``source`` as they are now.

    Raises:
        Invalid: the source is not one of ours, holds no readable model, or belongs to another
            run or logged model than the one named.
        NotFound: the run or logged model does not exist in this workspace.
    """
    if model.is_prompt:
        return _register_prompt(
            model, actor=actor, source=source, description=description, tags=tags
        )
    folder = sources.locate(
        source, workspace=workspace, run_id=run_id, logged_model_id=logged_model_id
    )
    artifacts.require_owner(folder, actor=actor, workspace=workspace, verb="view")
    files = registry_models.files_under(folder.owner_type, folder.owner_id, folder.path)
    described = describe(files, workspace, source)
    origin = _run_behind(workspace, run_id, logged_model_id)
    tagged = origin.tags if origin else {}
    trained = training.origin_of(origin.id) if origin else None
    with transaction.atomic():
        version = registry_models.register_version(
            model,
            actor=actor,
            source=source,
            files=files,
            run_id=origin.id if origin else "",
            logged_model_id=logged_model_id,
            signature=described.signature,
            flavours=described.flavours,
            lock_sha256=trained.lock_sha256 if trained else "",
            commit=tagged.get(_COMMIT_TAG, "")[:64],
            description=description,
            tags=tags,
            datasets=trained.datasets if trained else (),
            contributors=_contributors(tagged, trained),
        )
        if logged_model_id:
            runs.note_registration(logged_model_id, model.name, version.number)
    return version


def copy(
    model: Model,
    original: ModelVersion,
    *,
    actor: Actor,
    description: str = "",
    tags: Mapping[str, str] | None = None,
) -> ModelVersion:
    """The model has one more version with the files of another, and the same origin."""
    files = [VersionFile(item["path"], item["size"], item["sha256"]) for item in original.manifest]
    return registry_models.register_version(
        model,
        actor=actor,
        source=f"models:/{original.model.name}/{original.number}",
        files=files,
        run_id=original.run_id,
        logged_model_id=original.logged_model_id,
        signature=original.signature,
        flavours=original.flavours,
        lock_sha256=original.lock_sha256,
        commit=original.commit,
        description=description,
        tags=tags,
        datasets=[(item.dataset_version, item.role) for item in original.inputs.all()],
        contributors=original.contributors,
    )


def describe(files: list[VersionFile], workspace: Workspace, source: str) -> Description:
    """Return signature and flavours from the ``MLmodel`` among the files.

    Raises:
        Invalid: there is none, or it cannot be read.
    """
    found = next((item for item in files if item.path == "MLmodel"), None)
    if found is None:
        raise Invalid(
            f"There is no model under {source!r}: no file MLmodel was logged there. Log the model "
            "before registering it."
        )
    if found.size > _LARGEST_MLMODEL_BYTES:
        raise Invalid(f"The file MLmodel under {source!r} is too large to be one.")
    try:
        content = yaml.safe_load(blobs.read_bytes(workspace.key, found.sha256))
        signature = content.get("signature") or {}
        read = {
            part: json.loads(value)
            for part, value in signature.items()
            if part in {"inputs", "outputs", "params"} and value
        }
        flavours = tuple(str(name) for name in content.get("flavors") or {})
    except (yaml.YAMLError, ValueError, AttributeError, UnicodeDecodeError):
        raise Invalid(f"The file MLmodel under {source!r} cannot be read.") from None
    return Description(read, flavours)


def _register_prompt(
    model: Model,
    *,
    actor: Actor,
    source: str,
    description: str,
    tags: Mapping[str, str] | None,
) -> ModelVersion:
    if source not in sources.PROMPT_PLACEHOLDERS:
        raise Invalid(
            f"Invalid prompt source: '{source}'. Prompt sources must use an MLflow placeholder."
        )
    return registry_models.register_version(
        model, actor=actor, source=source, files=[], description=description, tags=tags
    )


def _run_behind(workspace: Workspace, run_id: str, logged_model_id: str) -> queries.Run | None:
    """Return the run that a model came from: the one named, or the logged model's own.

    Raises:
        Invalid: a run is named that is not the logged model's.
    """
    if logged_model_id:
        logged = queries.logged_model(logged_model_id, workspace=workspace.key)
        own = logged.run_id if logged else ""
        if run_id and own and run_id != own:
            raise Invalid(f"Run {run_id} did not log the model {logged_model_id}.")
        run_id = run_id or own
    if not run_id:
        return None
    found = queries.run(run_id, workspace=workspace.key)
    if found is None:
        raise Invalid(f"Run with id={run_id} not found")
    return found


def _contributors(tags: Mapping[str, str], trained: training.Origin | None) -> list[str]:
    """Return who made the run, and who answers for the job that it was made by."""
    made_by = [tags[CREATOR_TAG]] if CREATOR_TAG in tags else []
    return made_by + ([trained.owner_id] if trained else [])
