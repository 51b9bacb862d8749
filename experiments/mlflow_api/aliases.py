"""Aliases and stages: free ones are pointers, guarded ones follow what was let through.

A client that points a guarded alias, or moves a version to Staging or Production, is refused with
the address of the promotion request that stands for its wish.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from controlplane.access import services as access
from controlplane.accounts.models import Workspace
from controlplane.audit import services as audit
from controlplane.core.actor import Actor
from controlplane.core.errors import Blocked, Conflict, Invalid, NotFound, NotPermitted
from controlplane.workflow import services as workflow
from experiments.mlflow_api import answers, protocol, registry
from experiments.mlflow_api.protocol import MlflowError, text
from registry.models import Environment, Model, ModelVersion, PromotionRequest, VersionUse
from registry.services import models as registry_models
from registry.services import promotions

_NUMBERED = re.compile(r"v(\d+)\Z", re.IGNORECASE)
_SEMANTIC = re.compile(r"[\d^~<>=]")
_GUARDED_STAGES = {"Staging": "staging", "Production": "prod"}


@protocol.door("GET", "POST", "DELETE")
def alias(request: HttpRequest) -> HttpResponseBase:
    if request.method == "GET":
        return _get(request)
    return _set(request) if request.method == "POST" else _delete(request)


@protocol.door("POST")
def transition_stage(request: HttpRequest) -> HttpResponseBase:
    """Archive a version, or ask for the promotion that Staging and Production stand for."""
    sent = protocol.parameters(request)
    version = registry.version_of(request, sent)
    actor = protocol.actor_of(request)
    stage = registry.canonical_stage(text(sent, "stage", required=True))
    present = answers.stages_of([version])[version.pk]
    if stage != present:
        if stage == "Archived":
            version = registry_models.retire_version(version, actor=actor)
        elif stage == "None":
            raise NotPermitted(
                f"Version {version.number} of {version.model.name!r} is in stage {present}. Stages "
                "follow what is live: roll the deployment back, or promote another version."
            )
        else:
            environment = (
                Environment.objects.filter(
                    workspace=version.model.workspace_id, kind=_GUARDED_STAGES[stage]
                )
                .order_by("order", "pk")
                .first()
            )
            if environment is None:
                raise Invalid(f"This workspace has no environment for the stage {stage}.")
            raise _guarded(f"Stage {stage!r}", version, environment, request)
    stage = answers.stages_of([version])[version.pk]
    return protocol.answer({"model_version": answers.version_json(version, stage=stage)})


def _get(request: HttpRequest) -> HttpResponseBase:
    sent = protocol.parameters(request)
    model = registry.model_of(request, sent)
    name = text(sent, "alias", required=True)
    actor = protocol.actor_of(request)
    uses = answers.pointers([model])
    version = _resolve(model, name, uses)
    if version is None:
        if _SEMANTIC.match(name):
            raise NotFound(_no_such_semantic_version(model, name))
        if name.lower() == "latest":
            raise NotFound(f"Latest version not found for model {model.name}.")
        raise Invalid(f"Registered model alias {name} not found.")
    if _SEMANTIC.match(name):
        audit.record(
            "alias.follow",
            actor=actor,
            obj=audit.ref(model),
            after={"alias": name, "version": version.number},
        )
    body = answers.version_json(
        version,
        stage=answers.stage_of(version, uses),
        aliases=[item.alias for item in uses if item.version_id == version.pk],
    )
    return protocol.answer({"model_version": body})


def _set(request: HttpRequest) -> HttpResponseBase:
    sent = protocol.parameters(request)
    model = registry.model_of(request, sent)
    name = text(sent, "alias", required=True)
    number = registry.version_number(text(sent, "version", required=True))
    environment = _guarding(model, name)
    if environment is None:
        registry_models.set_alias(model, name, number, actor=protocol.actor_of(request))
        return protocol.answer()
    version = registry.visible_version(model.name, number, actor=protocol.actor_of(request))
    if VersionUse.objects.filter(
        version=version, environment=environment, use=VersionUse.Use.LIVE, ended_at=None
    ).exists():
        return protocol.answer()
    raise _guarded(f"Alias {name!r}", version, environment, request)


def _delete(request: HttpRequest) -> HttpResponseBase:
    sent = protocol.parameters(request)
    model = registry.model_of(request, sent)
    name = text(sent, "alias", required=True)
    actor = protocol.actor_of(request)
    environment = _guarding(model, name)
    if environment is not None:
        with workflow.refusals("alias.delete", actor=actor, obj=model):
            raise NotPermitted(
                f"Alias {name!r} of {model.name!r} is guarded: it follows what is live in "
                f"{environment.name} and cannot be deleted."
            )
    registry_models.delete_alias(model, name, actor=actor)
    return protocol.answer()


def _guarded(
    what: str, version: ModelVersion, environment: Environment, request: HttpRequest
) -> MlflowError:
    """Return the refusal, after opening or finding the request that stands for the wish."""
    actor, workspace = protocol.actor_of(request), protocol.workspace_of(request)
    subject = f"{what} of {version.model.name!r} is guarded."
    with workflow.refusals("alias.set", actor=actor, obj=version):
        if not access.can(actor, "propose", version).allowed:
            raise NotPermitted(
                f"{subject} It follows what is live in {environment.name}, and you may not "
                "propose a promotion. Ask somebody who may."
            )
        try:
            promotion, _ = promotions.request_from_alias(version, environment, actor=actor)
        except Conflict as conflict:
            other = promotions.open_request(version.model_id, environment)
            return _refusal(f"{subject} {conflict.message}", other, workspace, actor, version)
        except Blocked as blocked:
            raise NotPermitted(f"{subject} {blocked.message}") from blocked
    waiting = f"Promotion request {promotion} is open and needs approval:"
    return _refusal(
        f"{subject} {waiting} {_address(promotion, workspace)}",
        promotion,
        workspace,
        actor,
        version,
    )


def _refusal(
    message: str,
    promotion: PromotionRequest | None,
    workspace: Workspace,
    actor: Actor,
    version: ModelVersion,
) -> MlflowError:
    details = {}
    if promotion is not None:
        details = {
            "promotion_request_id": str(promotion),
            "promotion_url": _address(promotion, workspace),
        }
    error = MlflowError(message, "PERMISSION_DENIED", 403, **details)
    audit.record_refusal("alias.set", actor=actor, obj=audit.ref(version), error=error)
    return error


def _address(promotion: PromotionRequest, workspace: Workspace) -> str:
    base = settings.PUBLIC_URL.rstrip("/")
    return f"{base}/w/{workspace.key}/promotions/{promotion.number}/"


def _guarding(model: Model, name: str) -> Environment | None:
    return Environment.objects.filter(workspace=model.workspace_id, guarded_alias=name).first()


def _resolve(model: Model, name: str, uses: Sequence[answers.Pointer]) -> ModelVersion | None:
    """Return the version an alias names. The model is visible, hence its versions are."""
    versions = answers.readable_versions().filter(model=model)
    if name.lower() == "latest":
        return versions.filter(state=ModelVersion.State.SEALED).order_by("-number").first()
    for pointer in uses:
        if pointer.alias == name:
            return versions.filter(pk=pointer.version_id).first()
    if numbered := _NUMBERED.match(name):
        return versions.filter(number=int(numbered[1])).first()
    if _SEMANTIC.match(name):
        # A candidate has stood in front of somebody: it is live, or was let through once.
        return (
            versions.filter(semantic_version=name.lstrip("="))
            .exclude(state=ModelVersion.State.RETIRED)
            .order_by("-number")
            .first()
        )
    return None


def _no_such_semantic_version(model: Model, name: str) -> str:
    newest = (
        ModelVersion.objects.filter(model=model, semantic_version__isnull=False)
        .exclude(state=ModelVersion.State.RETIRED)
        .order_by("-number")
        .values_list("semantic_version", flat=True)[:3]
    )
    candidates = ", ".join(item for item in newest if item)
    known = f"The newest are {candidates}." if candidates else "None has a semantic version yet."
    return f"No version of {model.name!r} answers to {name!r}. {known} Use a number or an alias."
