"""Registered models, their sealed versions, tags and free aliases."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F, Max

from controlplane.access import services as access
from controlplane.accounts.models import User, Workspace
from controlplane.audit import services as audit
from controlplane.core import canonical_json, clock
from controlplane.core.actor import Actor
from controlplane.core.errors import Blocked, Conflict, Invalid, NotFound
from controlplane.core.events import publish
from controlplane.workflow import services as workflow
from registry.events import VersionSealed
from registry.models import (
    Alias,
    ArtifactBlob,
    DatasetVersion,
    Environment,
    Model,
    ModelVersion,
    PromotionRequest,
    VersionDataset,
    VersionUse,
)
from registry.states import OPEN_PROMOTION_STATES, VERSION

_FORBIDDEN_IN_NAME = re.compile(r"[/:%#?\\\x00-\x1f\x7f]")
_ALIAS = re.compile(r"[A-Za-z0-9_\-.]{1,100}\Z")
_RESERVED_ALIAS = re.compile(r"latest\Z|v\d+\Z|[0-9^~<>=]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class VersionFile:
    """One file of a version, its path relative to the model's own folder."""

    path: str
    size: int
    sha256: str


def create_model(
    *,
    actor: Actor,
    workspace: Workspace,
    name: str,
    description: str = "",
    tags: Mapping[str, str] | None = None,
    risk_tier: str = Model.RiskTier.MEDIUM,
    is_prompt: bool = False,
) -> Model:
    """The workspace has one more model; the accountable human owns it.

    Raises:
        Invalid: the name or tier cannot be used. Conflict: the name is taken.
    """
    target = audit.ObjectRef(
        type="model", id=name[:100], label=name[:100], workspace_id=workspace.pk
    )
    with workflow.refusals("model.create", actor=actor, obj=target):
        access.require(actor, "contribute", workspace)
        _require_name(name)
        if risk_tier not in Model.RiskTier.values:
            raise Invalid(
                f"{risk_tier!r} is not a risk tier; use {', '.join(Model.RiskTier.values)}."
            )
        try:
            with transaction.atomic():
                model = Model.objects.create(
                    workspace=workspace,
                    name=name,
                    owner=accountable_user(actor),
                    description=description,
                    tags=dict(tags or {}),
                    risk_tier=risk_tier,
                    is_prompt=is_prompt,
                )
                audit.record(
                    "model.create",
                    actor=actor,
                    obj=audit.ref(model),
                    after={"risk_tier": risk_tier, "owner": f"user:{model.owner_id}"},
                )
        except IntegrityError:
            raise Conflict(f"There is a model named {name!r} already.") from None
    return model


def get_model(name: str, *, actor: Actor, workspace_id: int, verb: str = "view") -> Model:
    """Return the model if the actor may see it.

    Raises:
        NotFound: it does not exist or is not visible. NotPermitted: visible, but not for ``verb``.
    """
    model = (
        access.visible(Model.objects.filter(workspace=workspace_id, name=name), actor)
        .select_related("workspace", "owner")
        .first()
    )
    if model is None:
        raise NotFound(f"There is no model named {name!r}.")
    if verb != "view":
        access.require(actor, verb, model)
    return model


def get_version(name: str, number: int, *, actor: Actor, workspace_id: int) -> ModelVersion:
    """Return one version of a visible model.

    Raises:
        NotFound: the model or the version does not exist for this actor.
    """
    model = get_model(name, actor=actor, workspace_id=workspace_id)
    version = (
        ModelVersion.objects.filter(model=model, number=number)
        .select_related("model__workspace", "model__owner", "registrant")
        .first()
    )
    if version is None:
        raise NotFound(f"{name!r} has no version {number}.")
    return version


@transaction.atomic
def update_model(
    model: Model,
    *,
    actor: Actor,
    description: str | None = None,
    risk_tier: str | None = None,
) -> Model:
    """Change what is written about a model. The risk tier can only be raised.

    Raises:
        Blocked: the tier would be lowered, which needs two people.
    """
    model = workflow.lock(Model.objects.all(), what="model", pk=model.pk)
    with workflow.refusals("model.update", actor=actor, obj=model):
        access.require(actor, "contribute", model)
        tiers = Model.RiskTier.values
        if risk_tier is not None and risk_tier not in tiers:
            raise Invalid(f"{risk_tier!r} is not a risk tier; use {', '.join(tiers)}.")
        if risk_tier and tiers.index(risk_tier) < tiers.index(model.risk_tier):
            raise Blocked(
                f"The risk tier of {model} is {model.risk_tier}. Lowering it to {risk_tier} needs "
                "two people, which this installation cannot do yet."
            )
    before = {"description": model.description, "risk_tier": model.risk_tier}
    if description is not None:
        model.description = description
    if risk_tier is not None:
        model.risk_tier = risk_tier
    model.save(update_fields=["description", "risk_tier", "updated_at"])
    after = {"description": model.description, "risk_tier": model.risk_tier}
    changed = [key for key in after if after[key] != before[key]]
    audit.record(
        "model.update",
        actor=actor,
        obj=audit.ref(model),
        before={key: before[key] for key in changed},
        after={key: after[key] for key in changed},
    )
    return model


@transaction.atomic
def rename_model(model: Model, new_name: str, *, actor: Actor) -> Model:
    """The model has another name; refused while a version of it is live or asks to be."""
    model = workflow.lock(Model.objects.all(), what="model", pk=model.pk)
    with workflow.refusals("model.rename", actor=actor, obj=model):
        _require_owner(actor, model)
        _require_name(new_name)
        _refuse_in_use(model, "renamed")
        if Model.objects.filter(workspace=model.workspace_id, name=new_name).exists():
            raise Conflict(f"There is a model named {new_name!r} already.")
    before = model.name
    model.name = new_name
    model.save(update_fields=["name", "updated_at"])
    audit.record(
        "model.rename",
        actor=actor,
        obj=audit.ref(model),
        before={"name": before},
        after={"name": new_name},
    )
    return model


@transaction.atomic
def retire_model(model: Model, *, actor: Actor) -> None:
    """The model and its versions are no longer offered; everything recorded stays."""
    model = workflow.lock(Model.objects.all(), what="model", pk=model.pk)
    with workflow.refusals("model.retire", actor=actor, obj=model):
        _require_owner(actor, model)
        _refuse_in_use(model, "retired")
    for version in model.versions.filter(state__in=["sealed", "quarantined"]):
        workflow.perform(VERSION, version, "retire", actor=actor)
    model.state = Model.State.RETIRED
    model.save(update_fields=["state", "updated_at"])
    audit.record(
        "model.retire",
        actor=actor,
        obj=audit.ref(model),
        before={"state": "active"},
        after={"state": "retired"},
    )


def register_version(
    model: Model,
    *,
    actor: Actor,
    source: str,
    files: Sequence[VersionFile],
    run_id: str = "",
    logged_model_id: str = "",
    signature: Mapping[str, Any] | None = None,
    flavours: Iterable[str] = (),
    lock_sha256: str = "",
    commit: str = "",
    description: str = "",
    tags: Mapping[str, str] | None = None,
    datasets: Sequence[tuple[DatasetVersion, str]] = (),
    contributors: Iterable[str] = (),
) -> ModelVersion:
    """The model has one more version, sealed: its files can never change from now on.

    A job that registers the same model again (its second attempt) gets the version of its first.

    Raises:
        Blocked: the model is retired. Invalid: there are no files.
    """
    job_id = UUID(actor.job_id) if actor.job_id else None
    with workflow.refusals("version.register", actor=actor, obj=model), transaction.atomic():
        access.require(actor, "contribute", model)
        locked = workflow.lock(Model.objects.all(), what="model", pk=model.pk)
        if job_id is not None:
            existing = ModelVersion.objects.filter(model=locked, job_id=job_id).first()
            if existing:
                return existing
        if locked.state == Model.State.RETIRED:
            raise Blocked(f"{model} is retired and takes no new versions.")
        if not files and not locked.is_prompt:
            raise Invalid(
                f"There are no files under {source!r}. Log the model before registering it."
            )
        user = accountable_user(actor)
        manifest = [
            {"path": item.path, "size": item.size, "sha256": item.sha256}
            for item in sorted(files, key=lambda item: item.path)
        ]
        version = ModelVersion.objects.create(
            model=locked,
            number=locked.next_version,
            state=ModelVersion.State.UPLOADING,
            source=source,
            run_id=run_id,
            logged_model_id=logged_model_id,
            job_id=job_id,
            manifest=manifest,
            manifest_sha256=canonical_json.digest(manifest),
            size_bytes=sum(item.size for item in files),
            signature=dict(signature or {}),
            flavours=sorted(flavours),
            lock_sha256=lock_sha256,
            commit=commit,
            description=description,
            tags=dict(tags or {}),
            registrant=user,
            contributors=sorted({actor.id, actor.accountable_id, user.actor_id, *contributors}),
        )
        Model.objects.filter(pk=locked.pk).update(
            next_version=F("next_version") + 1, updated_at=clock.now()
        )
        VersionDataset.objects.bulk_create(
            VersionDataset(version=version, dataset_version=item, role=role)
            for item, role in datasets
        )
        workflow.perform(
            VERSION,
            version,
            "seal",
            actor=actor,
            changes={"sealed_at": clock.now()},
            facts={"files": len(manifest), "run": run_id},
            digests={"manifest": version.manifest_sha256},
        )
        publish(VersionSealed(version.pk, actor))
    return version


def sealed_by(owner_type: str, owner_id: str) -> ModelVersion | None:
    """Return the version whose files are those of this run or logged model, if there is one."""
    field = {"run": "run_id", "logged_model": "logged_model_id"}.get(owner_type)
    if not field or not owner_id:
        return None
    return (
        ModelVersion.objects.filter(**{field: owner_id})
        .exclude(state=ModelVersion.State.FAILED)
        .select_related("model")
        .order_by("number")
        .first()
    )


def files_under(owner_type: str, owner_id: str, prefix: str = "") -> list[VersionFile]:
    """Return the files of a run or logged model below ``prefix``, paths relative to it."""
    blobs = ArtifactBlob.objects.filter(owner_type=owner_type, owner_id=owner_id)
    start = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    return [
        VersionFile(blob.path.removeprefix(start), blob.size, blob.sha256)
        for blob in blobs.filter(path__startswith=start).order_by("path")
    ]


@transaction.atomic
def update_version(version: ModelVersion, *, actor: Actor, description: str) -> ModelVersion:
    """Describe a version; its files and numbers stay sealed."""
    with workflow.refusals("version.describe", actor=actor, obj=version):
        access.require(actor, "contribute", version)
    version.description = description
    version.save(update_fields=["description", "updated_at"])
    audit.record("version.describe", actor=actor, obj=audit.ref(version))
    return version


@transaction.atomic
def set_tag(record: Model | ModelVersion, key: str, value: str, *, actor: Actor) -> None:
    """The tag has this value. Tags such as ``approval`` or ``stage`` have no force."""
    action = f"{_noun(record)}.tag"
    with workflow.refusals(action, actor=actor, obj=record):
        access.require(actor, "contribute", record)
        if not key or len(key) > 250:
            raise Invalid("A tag's key has 1 to 250 characters.")
    kept = _locked(record)
    kept.tags = {**kept.tags, key: value}
    kept.save(update_fields=["tags", "updated_at"])
    record.tags = kept.tags
    audit.record(action, actor=actor, obj=audit.ref(record), after={"key": key, "value": value})


@transaction.atomic
def delete_tag(record: Model | ModelVersion, key: str, *, actor: Actor) -> None:
    """The tag is gone.

    Raises:
        NotFound: there was none.
    """
    action = f"{_noun(record)}.untag"
    with workflow.refusals(action, actor=actor, obj=record):
        access.require(actor, "contribute", record)
        kept = _locked(record)
        if key not in kept.tags:
            raise NotFound(f"{record} has no tag {key!r}.")
    kept.tags = {name: value for name, value in kept.tags.items() if name != key}
    kept.save(update_fields=["tags", "updated_at"])
    record.tags = kept.tags
    audit.record(action, actor=actor, obj=audit.ref(record), before={"key": key})


@transaction.atomic
def set_alias(model: Model, alias: str, number: int, *, actor: Actor) -> Alias:
    """The free alias points at that version; where it pointed before is kept as history.

    Raises:
        Invalid: the name cannot be an alias, or is guarded. NotFound: no such version.
    """
    with workflow.refusals("alias.set", actor=actor, obj=model):
        access.require(actor, "contribute", model)
        _require_alias(model, alias)
        version = ModelVersion.objects.filter(model=model, number=number).first()
        if version is None or version.state == ModelVersion.State.FAILED:
            raise NotFound(f"{model} has no version {number}.")
    workflow.lock(Model.objects.all(), what="model", pk=model.pk)
    present = Alias.objects.filter(model=model, name=alias, ended_at=None).first()
    if present and present.version_id == version.pk:
        return present
    if present:
        present.ended_at = clock.now()
        present.save(update_fields=["ended_at"])
    pointer = Alias.objects.create(
        model=model, name=alias, version=version, set_by=accountable_user(actor)
    )
    audit.record(
        "alias.set",
        actor=actor,
        obj=audit.ref(model),
        before={"version": present.version.number if present else None},
        after={"alias": alias, "version": number},
    )
    return pointer


@transaction.atomic
def delete_alias(model: Model, alias: str, *, actor: Actor) -> None:
    """The free alias points nowhere. Deleting one that does not exist changes nothing."""
    with workflow.refusals("alias.delete", actor=actor, obj=model):
        access.require(actor, "contribute", model)
    ended = Alias.objects.filter(model=model, name=alias, ended_at=None).update(
        ended_at=clock.now()
    )
    if ended:
        audit.record("alias.delete", actor=actor, obj=audit.ref(model), before={"alias": alias})


def resolve_alias(model: Model, alias: str) -> ModelVersion | None:
    """Return the version an alias names; guarded ones follow what is live."""
    if alias.lower() == "latest":
        newest = ModelVersion.objects.filter(model=model, state="sealed").aggregate(n=Max("number"))
        return ModelVersion.objects.filter(model=model, number=newest["n"]).first()
    use = (
        VersionUse.objects.filter(
            model=model, environment__guarded_alias=alias, use=VersionUse.Use.LIVE, ended_at=None
        )
        .select_related("version__model")
        .first()
    )
    if use:
        return use.version
    pointer = (
        Alias.objects.filter(model=model, name=alias, ended_at=None)
        .select_related("version__model")
        .first()
    )
    return pointer.version if pointer else None


def aliases_of(model: Model) -> dict[str, int]:
    """Return every alias, guarded ones included, with the number of the version it names."""
    found = dict(
        Alias.objects.filter(model=model, ended_at=None).values_list("name", "version__number")
    )
    found.update(
        VersionUse.objects.filter(model=model, use=VersionUse.Use.LIVE, ended_at=None).values_list(
            "environment__guarded_alias", "version__number"
        )
    )
    return found


@transaction.atomic
def retire_version(version: ModelVersion, *, actor: Actor, reason: str = "") -> ModelVersion:
    """Stop offering a version for promotion. Refused while it is live or a way back."""
    version = workflow.lock(
        ModelVersion.objects.select_related("model"), what="version", pk=version.pk
    )

    def blockers() -> list[str]:
        uses = VersionUse.objects.filter(version=version, ended_at=None).select_related(
            "environment"
        )
        reasons = [
            f"It is {'live' if use.use == 'live' else 'a rollback target'} in {use.environment}."
            for use in uses
        ]
        open_request = PromotionRequest.objects.filter(
            version=version, state__in=OPEN_PROMOTION_STATES
        ).first()
        if open_request:
            reasons.append(f"{open_request} asks for its promotion; withdraw that first.")
        return reasons

    Alias.objects.filter(version=version, ended_at=None).update(ended_at=clock.now())
    return workflow.perform(
        VERSION, version, "retire", actor=actor, blocked_by=blockers, reason=reason
    )


def accountable_user(actor: Actor) -> User:
    """Return the human who answers for what the actor does.

    Raises:
        Invalid: nobody does (the product itself does not create records of people).
    """
    if actor.on_behalf_of:
        return User.objects.get(pk=int(actor.on_behalf_of.removeprefix("user:")))
    user = User.objects.filter(pk=actor.user_id or 0).select_related("owner").first()
    if user is None:
        raise Invalid(f"{actor.id} acts for nobody, and a record needs a human who answers for it.")
    return user.owner or user


def _require_name(name: str) -> None:
    if not name or len(name) > 200 or name != name.strip() or _FORBIDDEN_IN_NAME.search(name):
        raise Invalid(
            f"Invalid model name: {name!r}. Use 1 to 200 characters without / : % # ? or \\.",
            fields={"name": ["Use 1 to 200 characters without / : % # ? or \\."]},
        )


def _require_alias(model: Model, alias: str) -> None:
    if not _ALIAS.match(alias) or _RESERVED_ALIAS.match(alias):
        raise Invalid(
            f"{alias!r} cannot be an alias: latest, v1 and names that start with a digit or "
            "^ ~ < > = are read as versions."
        )
    environment = Environment.objects.filter(
        workspace=model.workspace_id, guarded_alias=alias
    ).first()
    if environment:
        raise Invalid(
            f"@{alias} is guarded: it follows what is live in {environment}. Request a promotion.",
            code="guarded_alias",
        )


def _require_owner(actor: Actor, model: Model) -> None:
    if actor.id not in model.responsible_ids():
        access.require(actor, "configure", model)


def _refuse_in_use(model: Model, what: str) -> None:
    use = (
        VersionUse.objects.filter(model=model, ended_at=None).select_related("environment").first()
    )
    if use:
        raise Blocked(
            f"{model} cannot be {what}: version {use.version.number} is {use.get_use_display()} "
            f"in {use.environment}."
        )
    open_request = PromotionRequest.objects.filter(
        model=model, state__in=OPEN_PROMOTION_STATES
    ).first()
    if open_request:
        raise Blocked(f"{model} cannot be {what} while {open_request} is open.")


def _locked(record: Model | ModelVersion) -> Model | ModelVersion:
    if isinstance(record, Model):
        return workflow.lock(Model.objects.all(), what="model", pk=record.pk)
    return workflow.lock(ModelVersion.objects.all(), what="version", pk=record.pk)


def _noun(record: Model | ModelVersion) -> str:
    return "model" if isinstance(record, Model) else "version"
